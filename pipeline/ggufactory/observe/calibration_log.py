"""How a calibration goes, a line at a time on standard error."""

from __future__ import annotations

import sys
import time

_SECONDS_BETWEEN_LINES = 15.0


class CalibrationLog:
    """A watcher of `calibrate` and `evaluate`. `steps`: what is counted."""

    def __init__(self, steps: str = "groups of chunks through a layer") -> None:
        self._steps = steps
        self._first: tuple[int, float] | None = None
        self._left = ""
        self._last_line = time.monotonic()

    def planned(self, how: str) -> None:
        self._line(how)

    def advanced(self, done: int, total: int) -> None:
        """Says it where nothing was said for a while: a layer of a large model takes long."""
        now = time.monotonic()
        if self._first is None or done < self._first[0]:
            self._first = done, now
            return
        begun, since = self._first
        if done > begun:
            self._left = f", about {_duration((now - since) / (done - begun) * (total - done))} left"
        if now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._line(f"{done / total:.0%}: {done:,} of {total:,} {self._steps}{self._left}")

    def layer_done(self, done: int, layers: int) -> None:
        self._line(f"layer {done} of {layers}{self._left}")

    def share_done(self, done: int, shares: int) -> None:
        self._line(f"share {done} of {shares} of the text{self._left}")

    def tick(self) -> None:
        """Nothing is worth a line."""

    def warn(self, message: str) -> None:
        self._line(f"warning: {message}")

    def _line(self, text: str) -> None:
        self._last_line = time.monotonic()
        print(text, file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
