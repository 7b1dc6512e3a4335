"""The commands, a file each: parse, call, map errors to exit codes."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code as `ggufactory --help` lists them."""
    # Here and not above: it takes most of a second, in which Ctrl-C is to end in order as well.
    try:
        from ggufactory.cli import commands
    except KeyboardInterrupt:
        print("ggufactory: stopped by SIGINT before it began", file=sys.stderr)
        return 128 + signal.SIGINT
    return commands.main(arguments)
