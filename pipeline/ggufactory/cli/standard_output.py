"""Standard output as it may be: closed, full, without a character for ours, or with a reader that has enough."""

from __future__ import annotations

import errno
import io
import os
import sys

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EIO}


def prepare() -> None:
    """Before anything is printed: what the encoding has no character for is escaped; a closed output takes anything."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def is_full(error: OSError) -> bool:
    """Whether it is the output that cannot be written. Errors of stores are ours when they come here, and those of
    other files have names."""
    return error.errno in _FULL and error.filename is None


def forget() -> None:
    """What is left in the buffer goes nowhere, so that the interpreter's end finds nothing to complain of."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
