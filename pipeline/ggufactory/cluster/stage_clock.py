"""How long a task's threads spend in each stage."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class StageClock:
    """Seconds by stage, over all threads. A stage within another counts for itself alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._thread = threading.local()

    def add(self, stage: str, seconds: float) -> None:
        with self._lock:
            self._seconds[stage] += seconds

    @contextmanager
    def inside(self, stage: str) -> Iterator[None]:
        """This thread is in `stage` until the block ends."""
        before: float = getattr(self._thread, "within", 0.0)
        self._thread.within = 0.0
        began = time.monotonic()
        try:
            yield
        finally:
            spent = time.monotonic() - began
            self.add(stage, spent - self._thread.within)
            self._thread.within = before + spent

    def seconds(self) -> dict[str, float]:
        with self._lock:
            return dict(self._seconds)
