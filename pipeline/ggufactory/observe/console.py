"""Where the commands print. Text is printed as it is: what strangers named is no markup."""

from __future__ import annotations

import re
import sys
from typing import TextIO

from rich.console import Console
from rich.text import Text

_WIDTH_OF_FILES = 10_000
"""Wider than any line: what is not a terminal gets lines that are not wrapped."""
_PADDING = re.compile(" +(?=\n)")


def stdout_console() -> Console:
    """For results: wrapped to a terminal's width; as long as they are, and without padding, in a file or a pipe."""
    if sys.stdout.isatty():
        return _Results(markup=False, highlight=False)
    # Only what rich calls of a file is there.
    return _Results(file=_Unpadded(sys.stdout), width=_WIDTH_OF_FILES, markup=False, highlight=False)  # type: ignore[arg-type]


def stderr_console() -> Console:
    """For what is no result: progress."""
    return Console(stderr=True, markup=False, highlight=False)


def tell(console: Console, label: str, style: str, message: str) -> None:
    """`label: message`, the label in the style."""
    console.print(Text.assemble((f"{label}:", style), " ", message))


def warn(message: str) -> None:
    """What is no error and yet to be known."""
    print(f"ggufactory: warning: {message}", file=sys.stderr, flush=True)


class _Results(Console):
    def on_broken_pipe(self) -> None:
        """Rich would end the program, and with 1: that the reader has enough is no fault."""
        raise BrokenPipeError


class _Unpadded:
    """A file whose lines lose the spaces at their ends, with which rich fills the last column of a table."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.encoding = file.encoding

    def write(self, text: str) -> int:
        self._file.write(_PADDING.sub("", text))
        return len(text)

    def flush(self) -> None:
        self._file.flush()

    def isatty(self) -> bool:
        return False
