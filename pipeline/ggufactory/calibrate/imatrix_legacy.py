"""The legacy format of importance matrices (.dat), as common/imatrix-loader.cpp of llama.cpp reads it.

Little-endian int32 unless said otherwise: number of entries; for each entry length of the name, name,
calls, number of values, float32 values (mean squared activation times calls); then, if the file goes
on, the number of chunks, and the length and the name of the data set.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ggufactory.calibrate.sums import (
    MAX_ENTRIES,
    NOT_AN_IMATRIX,
    ActivationSums,
    ImatrixFile,
    check_entry_name,
    check_sums,
)
from ggufactory.errors import InputError

MAX_NAME_BYTES = 512
MAX_DATASET_BYTES = 64 << 10


def parse_legacy(data: bytearray, file: str) -> ImatrixFile:
    """The values and calls in the whole file `data`, as views of it; `file` is its name in messages."""
    reader = _Reader(data, file)
    count = reader.number("the number of entries", 1, MAX_ENTRIES)
    entries: dict[str, ActivationSums] = {}
    for number in range(1, count + 1):
        entry = f"entry {number} of {count}"
        name = reader.text(reader.number(f"the length of the name of {entry}", 1, MAX_NAME_BYTES), entry)
        check_entry_name(name, file, entries)
        calls = reader.number(f"the calls of {name}", 0)
        values = reader.floats(reader.number(f"the number of values of {name}", 1), name)
        check_sums(values, name, file)
        entries[name] = ActivationSums(values[np.newaxis, :], np.array([calls]), zero_count_is_unseen=False)
    if reader.at_end:
        return ImatrixFile((), 0, 0, entries)
    chunk_count = reader.number("the number of chunks", 0)
    if reader.at_end:
        return ImatrixFile((), chunk_count, 0, entries)
    length = reader.number("the length of the data set's name", 0, MAX_DATASET_BYTES)
    dataset = reader.take(length, "the data set's name").split(b"\0")[0]
    return ImatrixFile((_text(dataset),) if length else (), chunk_count, 0, entries)


class _Reader:
    """A cursor over the file; every method raises InputError where the file ends too early."""

    def __init__(self, data: bytearray, file: str) -> None:
        self._data = data
        self._file = file
        self._position = 0

    @property
    def at_end(self) -> bool:
        return self._position == len(self._data)

    def take(self, length: int, what: str) -> bytes:
        return bytes(self._data[self._advance(length, what) : self._position])

    def number(self, what: str, least: int, most: int = (1 << 31) - 1) -> int:
        value = int.from_bytes(self.take(4, what), "little", signed=True)
        if not least <= value <= most:
            raise InputError(
                f"{self._file}: {what} is {value:,}, wanted {least:,} to {most:,}",
                fix=f"The file is damaged or no importance matrix. {NOT_AN_IMATRIX}",
            )
        return value

    def text(self, length: int, what: str) -> str:
        """A name, up to its first zero byte as in C."""
        text = _text(self.take(length, f"the name of {what}").split(b"\0")[0])
        if isinstance(text, bytes):
            raise InputError(f"{self._file}: the name of {what} is not UTF-8", fix=NOT_AN_IMATRIX)
        return text

    def floats(self, count: int, name: str) -> npt.NDArray[np.float32]:
        start = self._advance(4 * count, f"the {count:,} values of {name}")
        return np.frombuffer(self._data, "<f4", count, start)

    def _advance(self, length: int, what: str) -> int:
        """Go past the next `length` bytes; returns where they start."""
        start = self._position
        left = len(self._data) - start
        if length > left:
            raise InputError(
                f"{self._file} ends too early: {what} takes {length:,} bytes, but {left:,} are left",
                fix=f"It is cut short or no importance matrix. {NOT_AN_IMATRIX}",
            )
        self._position += length
        return start


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data
