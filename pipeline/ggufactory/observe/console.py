"""Where the commands print."""

from __future__ import annotations

import sys

from rich.console import Console

_WIDTH_OF_FILES = 160


def stdout_console() -> Console:
    """Where there is no terminal whose width counts, lines are as long as tables need."""
    return Console() if sys.stdout.isatty() else Console(width=_WIDTH_OF_FILES)


def stderr_console() -> Console:
    """For what is no result: progress."""
    return Console(stderr=True)


def warn(message: str) -> None:
    """What is no error and yet to be known."""
    print(f"ggufactory: warning: {message}", file=sys.stderr, flush=True)
