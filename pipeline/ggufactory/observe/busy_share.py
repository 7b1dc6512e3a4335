"""Which share of the cluster's CPU time makes spans."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

_WINDOW_SECONDS = 300.0
_SPANS_IN_WINDOW = 4
"""At least so many of the longest, one after another: a span counts only once it has ended."""


class _Work(NamedTuple):
    began: float
    ended: float
    cpu_seconds: float


class BusyShare:
    """Over the last minutes: CPU seconds of finished spans, of what the CPUs had."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._longest = 0.0
        self._done: deque[_Work] = deque()

    def add(self, seconds: float, cpu_seconds: float) -> None:
        """A span that took `seconds` has just ended."""
        now = self._clock()
        self._longest = max(self._longest, seconds)
        self._done.append(_Work(now - seconds, now, cpu_seconds))

    def share(self, cpus: float) -> float:
        """Of `cpus`, from 0 to about 1. Work is taken as even over its span, and cut where the window begins."""
        now = self._clock()
        begin = max(self._began, now - max(_WINDOW_SECONDS, _SPANS_IN_WINDOW * self._longest))
        while self._done and self._done[0].ended <= begin:
            self._done.popleft()
        if cpus <= 0 or now <= begin:
            return 0.0
        return sum(_since(begin, work) for work in self._done) / (cpus * (now - begin))


def _since(begin: float, work: _Work) -> float:
    length = work.ended - work.began
    return work.cpu_seconds * (work.ended - max(work.began, begin)) / length if length > 0 else work.cpu_seconds
