"""Where the hub sends whoever reads a file's bytes: kept for a while.

The hub counts requests, and a job makes thousands of reads. A location is signed and good for an hour or
so, and the host behind it counts nothing: most reads go there without asking the hub again.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

_KEPT_SECONDS = 600.0
_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Location:
    """Of the bytes of one file of one commit."""

    url: str
    """Signed: a key to the file, so it appears in no message."""
    tag: str | None
    """Of the file, as the hub told it with the redirect."""


class Locations:
    """By the hub's URL of the file; the oldest go first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: OrderedDict[str, tuple[float, Location]] = OrderedDict()

    def get(self, url: str) -> Location | None:
        with self._lock:
            until, location = self._found.get(url, (0.0, None))
            return location if time.monotonic() < until else None

    def keep(self, url: str, location: Location) -> None:
        with self._lock:
            self._found[url] = (time.monotonic() + _KEPT_SECONDS, location)
            self._found.move_to_end(url)
            while len(self._found) > _KEPT:
                self._found.popitem(last=False)

    def forget(self, url: str) -> None:
        with self._lock:
            self._found.pop(url, None)
