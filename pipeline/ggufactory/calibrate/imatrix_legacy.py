"""The legacy format of importance matrices (.dat), as common/imatrix-loader.cpp of llama.cpp reads it and
`save_imatrix_legacy` of its tools/imatrix/imatrix.cpp writes it.

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
_MAX_NUMBER = (1 << 31) - 1


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


def encode_legacy(file: ImatrixFile) -> bytearray:
    """The whole file, entries sorted by name. Byte for byte what `llama-imatrix --output-format dat` writes.

    The format keeps one number of calls for an entry, whole chunks, so values are mean x calls; a matrix
    that no token reached gets a mean of 1, and an entry that no token reached is left out, as are all
    data sets but the last. `file` is of sums of tokens: `merge` makes those of a legacy file. InputError
    when no entry is left, or a number does not fit.
    """
    reached = {entry: sums for entry, sums in sorted(file.entries.items()) if sums.counts.any()}
    if not reached:
        raise InputError("no entry of the importance matrix has data, and the .dat format cannot say so")
    out = bytearray(_number(len(reached), "the number of entries"))
    for entry, sums in reached.items():
        assert sums.zero_count_is_unseen, entry
        name = entry.encode()
        calls = -(-int(sums.counts.max()) // file.chunk_size)
        out += _number(len(name), f"the length of the name of {entry}", MAX_NAME_BYTES) + name
        out += _number(calls, f"the calls of {entry}")
        out += _number(sums.sums.size, f"the number of values of {entry}")
        out += _values(sums, calls, entry).data
    out += _number(file.chunk_count, "the number of chunks")
    last = file.datasets[-1] if file.datasets else b""
    dataset = last.encode() if isinstance(last, str) else last
    return out + _number(len(dataset), "the length of the data set's name", MAX_DATASET_BYTES) + dataset


def _values(sums: ActivationSums, calls: int, entry: str) -> npt.NDArray[np.float32]:
    unseen = sums.counts[:, np.newaxis] == 0
    counts = np.where(unseen, 1, sums.counts[:, np.newaxis]).astype(np.float32)
    values = np.divide(np.where(unseen, np.float32(1), sums.sums), counts, dtype=np.float32)
    with np.errstate(over="ignore"):
        values *= np.float32(calls)
    check_sums(values.reshape(-1), entry, "the .dat file")
    return values.astype("<f4", copy=False)


def _number(value: int, what: str, most: int = _MAX_NUMBER) -> bytes:
    if value > most:
        raise InputError(f"{what} is {value:,}, but the .dat format has at most {most:,}", fix="Write a .gguf file")
    return value.to_bytes(4, "little")


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

    def number(self, what: str, least: int, most: int = _MAX_NUMBER) -> int:
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
