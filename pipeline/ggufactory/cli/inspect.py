"""`ggufactory inspect`: what is in a checkpoint, in a GGUF file, or lost in a target's rungs."""

from __future__ import annotations

import argparse
import json

from ggufactory.cli.help_format import HelpFormatter
from ggufactory.cli.help_texts import EXIT_CODES, INSPECT
from ggufactory.errors import InputError
from ggufactory.job.error_inspection import read_errors
from ggufactory.job.inspection import inspect
from ggufactory.observe import tables
from ggufactory.observe.console import stdout_console
from ggufactory.observe.error_tables import errors_json, print_errors

_WORST = 3


def add_inspect_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "inspect",
        help="summarize a checkpoint or a GGUF file, or the errors of a target",
        description=INSPECT,
        epilog=EXIT_CODES,
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument
    add(
        "path",
        metavar="CHECKPOINT|GGUF|TARGET",
        help="a folder, a .gguf file, or either on s3:// or hf://; with --errors a target with a manifest.json",
    )
    add("--errors", action="store_true", help="say what the tensors of a target's rungs lose, the worst first")
    add("--worst", type=int, metavar="N", help=f"with --errors: so many tensors of each rung (default: {_WORST})")
    add("--ladder", metavar="RUNGS", help="with --errors: these rungs alone, Q4_K_M,IQ3_XXS")
    add("--name", help="with --errors, of a target with several models: NAME of NAME-RUNG.gguf")
    add("--json", action="store_true", help="with --errors: print one JSON object")
    parser.set_defaults(command=_inspect)


def _inspect(options: argparse.Namespace) -> int:
    if options.errors:
        return _show_errors(options)
    for flag in ("worst", "ladder", "name", "json"):
        if getattr(options, flag):
            raise InputError(f"--{flag} belongs to --errors", fix="Give both, or neither")
    tables.print_inspection(stdout_console(), inspect(options.path))
    return 0


def _show_errors(options: argparse.Namespace) -> int:
    worst = _WORST if options.worst is None else options.worst
    if worst < 1:
        raise InputError(f"--worst: wanted a number of tensors, at least 1, found {worst}")
    ladder = tuple(r.strip() for r in (options.ladder or "").split(",") if r.strip())
    rungs = read_errors(options.path, ladder, options.name)
    if options.json:
        print(json.dumps(errors_json(options.path, rungs, worst), indent=1))
    else:
        print_errors(stdout_console(), rungs, worst)
    return 0
