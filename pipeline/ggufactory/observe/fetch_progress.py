"""How a download goes: a bar for each file on a terminal, else a line for each."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from ggufactory.observe.console import stderr_console
from ggufactory.observe.numbers import show_bytes

_SECONDS_BETWEEN_LINES = 10.0


class FetchProgress:
    """A `FetchWatcher` that writes to standard error. A context manager."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._bars = (
            Progress(*columns, TimeRemainingColumn(), console=stderr_console()) if sys.stderr.isatty() else None
        )
        self._name, self._size, self._done, self._last_line = "", 0, 0, 0.0

    def __enter__(self) -> FetchProgress:
        if self._bars:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars:
            self._bars.stop()

    def begin(self, name: str, size: int) -> None:
        self._name, self._size, self._done, self._last_line = name, size, 0, time.monotonic()
        if self._bars:
            self._task = self._bars.add_task(name, total=size)

    def there(self, count: int) -> None:
        self._done += count
        if self._bars:
            self._bars.advance(self._task, count)
        elif time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._line(f"{self._name}: {show_bytes(self._done)} of {show_bytes(self._size)}")

    def end(self, name: str, *, already: bool) -> None:
        if self._bars:
            self._bars.update(self._task, completed=self._size)
        else:
            self._line(f"{name}: {show_bytes(self._size)} {'were there' if already else 'fetched'}, SHA-256 right")

    def _line(self, text: str) -> None:
        self._last_line = time.monotonic()
        print(text, file=sys.stderr, flush=True)
