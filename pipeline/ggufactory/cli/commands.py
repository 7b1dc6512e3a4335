"""The command line: parse, call, map errors to exit codes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ggufactory import __version__, interrupts
from ggufactory.cli import standard_output
from ggufactory.cli.calibrate import add_calibrate_command
from ggufactory.cli.card import add_card_command
from ggufactory.cli.choose import add_choose_command
from ggufactory.cli.evaluate import add_evaluate_command
from ggufactory.cli.fetch import add_fetch_command
from ggufactory.cli.gc import add_gc_command
from ggufactory.cli.help_format import CommandParser, HelpFormatter
from ggufactory.cli.help_texts import ABOUT, EXIT_CODES
from ggufactory.cli.imatrix import add_imatrix_commands
from ggufactory.cli.inspect import add_inspect_command
from ggufactory.cli.plan import add_plan_command
from ggufactory.cli.publish import add_publish_command
from ggufactory.cli.quantize import add_quantize_command, add_republish_command
from ggufactory.cli.status import add_status_command
from ggufactory.cli.submit import add_submit_command
from ggufactory.cli.sync import add_sync_command
from ggufactory.cli.verify import add_verify_command
from ggufactory.errors import GgufactoryError, UnavailableError

_COMMANDS = (
    add_inspect_command,
    add_plan_command,
    add_quantize_command,
    add_calibrate_command,
    add_imatrix_commands,
    add_evaluate_command,
    add_choose_command,
    add_verify_command,
    add_card_command,
    add_publish_command,
    add_fetch_command,
    add_republish_command,
    add_submit_command,
    add_sync_command,
    add_status_command,
    add_gc_command,
)
"""In the order in which one meets them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code as `ggufactory --help` lists them."""
    standard_output.prepare()
    try:
        options = make_parser().parse_args(arguments)
        interrupts.install(getattr(options, "grace", 0.0))
        code = int(options.command(options))
        sys.stdout.flush()
        return code
    except GgufactoryError as error:
        print(f"ggufactory: {error}", file=sys.stderr)
        return error.exit_code
    except interrupts.StoppedError as stopped:
        print(f"ggufactory: stopped by {stopped}; the same command resumes", file=sys.stderr)
        return stopped.exit_code
    except BrokenPipeError:
        # Whoever read our output has enough of it (`| head`); nothing is wrong.
        standard_output.forget()
        return 0
    except OSError as error:
        if not standard_output.is_full(error):
            raise
        standard_output.forget()
        print(f"ggufactory: the output cannot be written: {error.strerror}", file=sys.stderr)
        return UnavailableError.exit_code


def make_parser() -> argparse.ArgumentParser:
    """Of every command; what it returns has the command's function as `command`."""
    parser: argparse.ArgumentParser = CommandParser(
        "ggufactory", description=ABOUT, epilog=EXIT_CODES, formatter_class=HelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"ggufactory {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in _COMMANDS:
        add(commands)
    return parser
