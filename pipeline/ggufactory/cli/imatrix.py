"""`ggufactory imatrix`: show, plot, merge and convert importance matrix files."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

from ggufactory.calibrate.imatrix_file import check_format, read_imatrix_file, write_imatrix
from ggufactory.calibrate.imatrix_plot import check_plot, write_plot
from ggufactory.calibrate.imatrix_statistics import compute_statistics
from ggufactory.calibrate.merge import merge
from ggufactory.calibrate.record import record_of
from ggufactory.cli.help_format import HelpFormatter
from ggufactory.cli.help_texts import EXIT_CODES, IMATRIX, IMATRIX_MERGE, IMATRIX_SHOW
from ggufactory.errors import InputError
from ggufactory.observe import imatrix_tables
from ggufactory.observe.console import stdout_console


def add_imatrix_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The group and its commands."""
    group = commands.add_parser(
        "imatrix",
        help="show, merge and convert importance matrices",
        description=IMATRIX,
        epilog=EXIT_CODES,
        formatter_class=HelpFormatter,
    ).add_subparsers(title="commands", required=True, metavar="COMMAND")

    show = group.add_parser(
        "show", help="statistics of a file", description=IMATRIX_SHOW, epilog=EXIT_CODES, formatter_class=HelpFormatter
    )
    show.add_argument("file", metavar="FILE", help="a .gguf or .dat file, local, on s3:// or on hf://")
    show.add_argument("--json", action="store_true", help="print the statistics as JSON")
    show.add_argument("--plot", metavar="OUT", help="draw them as well: an .svg or a .png file")
    show.add_argument("--top", type=int, metavar="N", help="only the N tensors with the largest sums, largest first")
    show.set_defaults(command=_show)

    add = group.add_parser(
        "merge",
        help="several files as one",
        description=IMATRIX_MERGE,
        epilog=EXIT_CODES,
        formatter_class=HelpFormatter,
    )
    add.add_argument("files", nargs="+", metavar="FILE", help="a .gguf or .dat file, local, on s3:// or on hf://")
    add.add_argument("--to", required=True, metavar="OUT", help="a .gguf or .dat file, local or on s3://")
    add.add_argument(
        "--context", type=int, metavar="N", help="tokens of a chunk (default: as the files say; 512 if they do not)"
    )
    add.set_defaults(command=_merge)


def _show(options: argparse.Namespace) -> int:
    if options.top is not None and options.top < 1:
        raise InputError(f"--top {options.top}: wanted 1 or more")
    if options.plot:
        check_plot(options.plot)
    read = read_imatrix_file(options.file)
    content, record = merge([(read.name, read.content)]), record_of(read.content)
    if record is None:
        statistics = compute_statistics(content)
    else:
        statistics = compute_statistics(content, few=record.coverage.tokens, reached=record.thin)
    if options.plot:
        write_plot(options.plot, statistics, imatrix_tables.headline(read))
    if options.top is not None:
        largest = sorted(statistics.tensors, key=lambda of: -of.sum)
        statistics = replace(statistics, tensors=tuple(largest[: options.top]))
    if options.json:
        print(json.dumps(imatrix_tables.as_json(read, statistics), indent=1, allow_nan=False))
    else:
        imatrix_tables.print_statistics(stdout_console(), read, statistics)
    return 0


def _merge(options: argparse.Namespace) -> int:
    check_format(options.to)
    if options.context is not None and not 1 <= options.context < 1 << 31:
        raise InputError(f"--context {options.context}: wanted a number of tokens")
    read = [read_imatrix_file(uri) for uri in options.files]
    merged = merge([(file.name, file.content) for file in read], options.context)
    written = write_imatrix(options.to, merged)
    imatrix_tables.print_merged(stdout_console(), options.to, merged, written.size)
    return 0
