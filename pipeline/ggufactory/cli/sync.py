"""`ggufactory sync`: make true what a catalogue says, once or again and again."""

from __future__ import annotations

import argparse
import json
import sys
import time

from ggufactory.cli.duration import parse_duration
from ggufactory.cli.help_format import HelpFormatter
from ggufactory.cli.help_texts import EXIT_CODES, SYNC
from ggufactory.cli.job_flags import add_run_flags
from ggufactory.cli.metrics_flags import add_metrics_flags, exports_of
from ggufactory.errors import GgufactoryError, InputError
from ggufactory.job.catalog import load_catalog
from ggufactory.job.sync import exit_code, sync
from ggufactory.observe.console import stdout_console
from ggufactory.observe.exports import Exports
from ggufactory.observe.sync_report import SyncReporter, outcomes_json, print_outcomes


def add_sync_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "sync",
        help="make what a catalogue of models lacks",
        description=SYNC,
        epilog=EXIT_CODES,
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument
    add("catalog", metavar="CATALOG.yaml", help="names models, ladders and targets")
    add("--json", action="store_true", help="print the outcome of every model as JSON, one object a round")
    add("--watch", action="store_true", help="go on: read the catalogue again every --interval")
    add("--interval", metavar="TIME", help="between rounds, such as 15m, which is the default")
    add_run_flags(parser, if_locked="fail")
    add_metrics_flags(parser)
    parser.set_defaults(command=_sync)


def _sync(options: argparse.Namespace) -> int:
    if options.interval is not None and not options.watch:
        raise InputError("--interval is of --watch", fix="Add --watch, or leave --interval out")
    if options.workers is not None and options.workers < 1:
        raise InputError(f"workers: wanted 1 or more, found {options.workers}")
    interval = parse_duration(options.interval or "15m")
    with exports_of(options) as exports:
        if not options.watch:
            return _round(options, exports)
        while True:
            began = time.monotonic()
            try:
                code = _round(options, exports)
                print(f"round ended with code {code}, the next in {interval:g} s", file=sys.stderr, flush=True)
            except GgufactoryError as error:
                print(f"ggufactory: {error}", file=sys.stderr, flush=True)
            time.sleep(max(interval - (time.monotonic() - began), 0.0))


def _round(options: argparse.Namespace, exports: Exports) -> int:
    outcomes = sync(
        load_catalog(options.catalog),
        SyncReporter(exports),
        if_locked=options.if_locked,
        ray_address=options.ray_address,
        workers=options.workers,
    )
    if options.json:
        print(json.dumps(outcomes_json(outcomes)), flush=True)
    else:
        print_outcomes(stdout_console(), outcomes)
    return exit_code(outcomes)
