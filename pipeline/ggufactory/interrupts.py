"""Ending on SIGTERM and Ctrl-C, and never in the middle of what cannot bear it.

A signal ends the run by an exception, wherever it is. Ray's compiled code loses such an exception, or
turns it into another one; around its calls the signal is held back until they have returned. What is
running elsewhere when the signal comes has a time of grace to end; a second signal ends that too.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StoppedError(BaseException):
    """A signal came. Not an Exception: nothing on the way out may take it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class _State:
    """Of this process: how many blocks hold signals back, the signal that waits, and until when (of
    time.monotonic) what runs may go on; and what else may end the run."""

    depth = 0
    waiting: int | None = None
    grace = 0.0
    deadline = 0.0
    guards: tuple[Callable[[], None], ...] = ()


def install(grace: float = 0.0) -> None:
    """From now on SIGTERM and SIGINT raise StoppedError in the main thread, which must call this.

    `grace`: seconds that tasks of a cluster have to end after the first signal.
    """
    _State.grace = grace
    for number in _SIGNALS:
        signal.signal(number, _arrive)


def check() -> None:
    """Raise StoppedError if a signal has come, or what a guard raises."""
    if _State.waiting is not None:
        raise StoppedError(_State.waiting)
    check_guards()


def check_guards() -> None:
    """Raise what a guard raises, whatever signal has come."""
    for guard in _State.guards:
        guard()


def grace_left() -> float | None:
    """Seconds that running tasks still have to end; None as long as no signal has come."""
    return None if _State.waiting is None else max(_State.deadline - time.monotonic(), 0.0)


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


@contextmanager
def guarded(guard: Callable[[], None]) -> Iterator[None]:
    """Inside, `check` calls `guard` too, which raises when the run has to end."""
    before = _State.guards
    _State.guards = (*before, guard)
    try:
        yield
    finally:
        _State.guards = before


def _arrive(number: int, _frame: FrameType | None) -> None:
    if _State.waiting is None:
        _State.deadline = time.monotonic() + _State.grace
    else:
        _State.deadline = 0.0
    _State.waiting = number
    if not _State.depth:
        check()
