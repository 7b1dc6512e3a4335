"""`ggufactory status`: what a target holds and how far its jobs are."""

from __future__ import annotations

import argparse
import json
import time

from ggufactory.cli.help_format import HelpFormatter
from ggufactory.cli.help_texts import EXIT_CODES, STATUS
from ggufactory.cli.metrics_flags import add_outcome_flags, exports_of
from ggufactory.errors import InputError
from ggufactory.job.job_file import load_job
from ggufactory.job.target_status import read_status
from ggufactory.observe.console import stdout_console, warn
from ggufactory.observe.status_tables import print_status, status_json
from ggufactory.observe.target_metrics import record_lease
from ggufactory.storage import open_store


def add_status_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "status",
        help="say how far the jobs of a target are",
        description=STATUS,
        epilog=EXIT_CODES,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("target", metavar="TARGET", help="a folder or s3://bucket/prefix; or a job file that names one")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_outcome_flags(parser)
    parser.set_defaults(command=_status)


def _status(options: argparse.Namespace) -> int:
    store = open_store(_target(options.target))
    with exports_of(options) as exports:
        status = read_status(store, time.time())
        held = status.lease if status.leased else None
        since, expires = (held.since, held.expires) if held else (None, None)
        exports.publish({"target": store.uri}, lambda sink: record_lease(sink, store.uri, since, expires), warn)
    if options.json:
        print(json.dumps(status_json(status), indent=1))
    else:
        print_status(stdout_console(), status)
    return 0


def _target(named: str) -> str:
    if not named.endswith((".yaml", ".yml")):
        return named
    target = load_job(named).get("to")
    if target is None:
        raise InputError(f"job file {named} names no target", fix="Give the target itself")
    return str(target)
