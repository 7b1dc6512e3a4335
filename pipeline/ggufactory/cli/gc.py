"""`ggufactory gc`: what runs that were never resumed left behind."""

from __future__ import annotations

import argparse
import json
import time

from ggufactory.assemble.lease import leased
from ggufactory.cli.duration import parse_duration
from ggufactory.cli.help_format import HelpFormatter
from ggufactory.cli.help_texts import EXIT_CODES, GC
from ggufactory.cli.metrics_flags import add_outcome_flags, exports_of
from ggufactory.job.leftovers import find_leftovers, remove
from ggufactory.observe.console import stdout_console, warn
from ggufactory.observe.leftover_tables import leftovers_json, print_leftovers
from ggufactory.observe.target_metrics import record_stale_uploads
from ggufactory.storage import open_store


def add_gc_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "gc",
        help="list or delete what abandoned jobs left in a target",
        description=GC,
        epilog=EXIT_CODES,
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument
    add("target", metavar="TARGET", help="a folder or s3://bucket/prefix")
    add("--older-than", metavar="TIME", default="7d", help="only what was not used for so long (default: %(default)s)")
    add("--delete", action="store_true", help="delete it; without this flag it is only listed")
    add("--json", action="store_true", help="print one JSON object")
    add_outcome_flags(parser)
    parser.set_defaults(command=_gc)


def _gc(options: argparse.Namespace) -> int:
    store, older_than, now = open_store(options.target), parse_duration(options.older_than), time.time()
    with exports_of(options) as exports:
        if options.delete:
            with leased(store, "gc"):
                found = find_leftovers(store, now, older_than)
                for item in found.stale:
                    remove(store, item)
        else:
            found = find_leftovers(store, now, older_than)
        left = 0 if options.delete else sum(item.kind == "upload" for item in found.stale)
        exports.publish({"target": store.uri}, lambda sink: record_stale_uploads(sink, store.uri, left), warn)
    if options.json:
        print(json.dumps(leftovers_json(store.uri, found, options.delete), indent=1))
    else:
        print_leftovers(stdout_console(), store.uri, found, now, options.delete)
    return 0
