"""`ggufactory quantize`: the files of a ladder; and `republish-header`, which makes their metadata anew."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import ExitStack

from ggufactory.assemble.lease import leased
from ggufactory.cli.help_format import HelpFormatter
from ggufactory.cli.help_texts import EXIT_CODES, QUANTIZE, REPUBLISH
from ggufactory.cli.job_flags import add_cluster_flags, add_job_flags, add_release_flags, job_spec
from ggufactory.cli.metrics_flags import add_metrics_flags, exports_of
from ggufactory.errors import LeaseHeldError
from ggufactory.job import ladder_job
from ggufactory.job.job_spec import JobSpec
from ggufactory.observe import tables
from ggufactory.observe.console import stdout_console
from ggufactory.observe.job_meter import JobMeter
from ggufactory.observe.job_watcher import job_watcher
from ggufactory.observe.quality_table import print_quality
from ggufactory.storage import open_store


def add_quantize_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    _add(commands, "quantize", "make the files of a ladder", QUANTIZE, _quantize)


def add_republish_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    _add(commands, "republish-header", "make the metadata of split files anew", REPUBLISH, _republish_header)


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    short: str,
    long: str,
    command: Callable[[argparse.Namespace], int],
) -> None:
    parser = commands.add_parser(name, help=short, description=long, epilog=EXIT_CODES, formatter_class=HelpFormatter)
    add_job_flags(parser)
    add_cluster_flags(parser)
    add_release_flags(parser)
    add_metrics_flags(parser)
    parser.set_defaults(command=command)


def _quantize(options: argparse.Namespace) -> int:
    return _run_job("quantize", options, ladder_job.run)


def _republish_header(options: argparse.Namespace) -> int:
    return _run_job("republish-header", options, ladder_job.republish_headers)


def _run_job(
    name: str, options: argparse.Namespace, run: Callable[[JobSpec, ladder_job.Watcher], ladder_job.Result]
) -> int:
    spec = job_spec(options)
    with ExitStack() as lease:
        if options.if_locked:
            try:
                lease.enter_context(leased(open_store(spec.require_target()), spec.source))
            except LeaseHeldError as held:
                if options.if_locked == "fail":
                    raise
                print(f"ggufactory: skipped: {held.message}", file=sys.stderr)
                return 0
        with (
            exports_of(options) as exports,
            job_watcher() as shown,
            exports.run(name, spec.model, shown.warn) as measured,
            JobMeter(shown, measured, exports.sinks) as meter,
        ):
            result = run(spec, meter)
    tables.print_result(stdout_console(), spec.require_target(), result, shown.tally)
    if result.evaluated is not None:
        print_quality(stdout_console(), result.evaluated)
    return 0
