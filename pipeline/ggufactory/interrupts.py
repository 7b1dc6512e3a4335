"""Ending on SIGTERM and Ctrl-C, and never in the middle of what cannot bear it.

A signal ends the run by an exception, wherever it is. Ray's compiled code loses such an exception, or
turns it into another one; around its calls the signal is held back until they have returned.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StoppedError(BaseException):
    """A signal came. Not an Exception: nothing on the way out may take it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class _State:
    """Of this process: how many blocks hold signals back, and the signal that waits."""

    depth = 0
    waiting: int | None = None


def install() -> None:
    """From now on SIGTERM and SIGINT raise StoppedError in the main thread, which must call this."""
    for number in _SIGNALS:
        signal.signal(number, _arrive)


def check() -> None:
    """Raise StoppedError if a signal has come."""
    if _State.waiting is not None:
        raise StoppedError(_State.waiting)


@contextmanager
def held() -> Iterator[None]:
    """Inside, a signal waits for `check`, or for the end of the block (of the outermost one)."""
    _State.depth += 1
    try:
        yield
    finally:
        _State.depth -= 1
        if not _State.depth:
            check()


def _arrive(number: int, _frame: FrameType | None) -> None:
    _State.waiting = number
    if not _State.depth:
        check()
