"""Reading little-endian fields one after another from a file that is only reachable by ranges."""

from __future__ import annotations

import struct
from collections.abc import Callable

from ggufactory.errors import InputError

RangeRead = Callable[[int, int], bytes]
"""`read(offset, length)`: exactly `length` bytes of the file; only called for ranges inside it."""

FETCH_BYTES = 1 << 20
"""Asked for at a time: a header with its vocabulary takes some ten requests."""
MAX_HEADER_BYTES = 128 << 20
"""The largest published vocabularies take about 20 MB."""


class FieldReader:
    """A cursor over the beginning of a file. Every method raises InputError at the end of the file."""

    def __init__(self, read: RangeRead, file_size: int, name: str) -> None:
        self._read = read
        self._limit = min(file_size, MAX_HEADER_BYTES)
        self._file_size = file_size
        self._name = name
        self._window = b""
        self._window_start = 0
        self.position = 0

    def fault(self, message: str, fix: str = "") -> InputError:
        """The error to raise for `message`, naming the file."""
        return InputError(f"{self._name}: {message}", fix=fix)

    def check_room(self, count: int, item_bytes: int, what: str) -> None:
        """Refuse `count` items of at least `item_bytes` each that the rest of the header cannot hold."""
        if count * item_bytes <= self._limit - self.position:
            return
        if self._file_size > MAX_HEADER_BYTES:
            raise self.fault(f"{what} end beyond the first {MAX_HEADER_BYTES:,} bytes, where a header must end")
        raise self.fault(
            f"the file ends too early: {what} take at least {count * item_bytes:,} bytes, "
            f"but only {self._limit - self.position:,} are left of {self._file_size:,}",
            fix="Download it again",
        )

    def take(self, length: int, what: str) -> bytes:
        self.check_room(length, 1, what)
        start = self.position - self._window_start
        if start + length > len(self._window):
            kept = self._window[start:]
            end = min(self.position + max(length, FETCH_BYTES), self._limit)
            fetched = self.position + len(kept)
            self._window = kept + self._read(fetched, end - fetched)
            self._window_start = self.position
            start = 0
        self.position += length
        return self._window[start : start + length]

    def number(self, code: str, what: str) -> int:
        """One integer of `struct`'s type `code`."""
        value = struct.unpack("<" + code, self.take(struct.calcsize("<" + code), what))[0]
        assert isinstance(value, int)
        return value

    def string(self, what: str) -> bytes:
        """A length (64 bits) and that many bytes."""
        return self.take(self.number("Q", what), what)
