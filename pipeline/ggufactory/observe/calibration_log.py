"""How a calibration goes, a line at a time on standard error."""

from __future__ import annotations

import sys


class CalibrationLog:
    """A watcher of `calibrate`."""

    def layer_done(self, done: int, layers: int) -> None:
        self._line(f"layer {done} of {layers}")

    def share_done(self, done: int, shares: int) -> None:
        self._line(f"share {done} of {shares} of the text")

    def tick(self) -> None:
        """Nothing is worth a line."""

    def warn(self, message: str) -> None:
        self._line(f"warning: {message}")

    def _line(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)
