"""The receipts of the parts of an upload into a folder: one file, in which part N has a fixed place."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from ggufactory.storage.folder_files import read_exactly, write_exactly
from ggufactory.storage.protocol import Part

MAX_PARTS = 1_000_000
_LATEST = 1e11
"""Of Unix times that are believed."""

# Offset, size and CRC-32 of the part; then when it was stored, and the CRC-32 of the first three, by which a
# receipt is told from a hole in the file and from a torn write. 32 bytes, so that none crosses a disk sector.
_FIELDS = struct.Struct("<QQI")
_CHECK = struct.Struct("<dI")
_RECEIPT_BYTES = _FIELDS.size + _CHECK.size


@dataclass(frozen=True, slots=True)
class Receipt:
    """Part `number` has `size` bytes from byte `offset` of the object on, all of them on the disk."""

    number: int
    offset: int
    size: int
    crc32: int
    stored_at: float = field(compare=False)
    """In seconds of Unix time."""

    def part(self) -> Part:
        return Part(self.number, self.size, f"{self.size:x}-{self.crc32:08x}", self.crc32, self.stored_at)

    def pack(self) -> bytes:
        fields = _FIELDS.pack(self.offset, self.size, self.crc32)
        return fields + _CHECK.pack(self.stored_at, zlib.crc32(fields))


def write(descriptor: int, receipt: Receipt) -> None:
    """Store a receipt for good. The part's bytes must be on the disk before."""
    _write(descriptor, receipt.number, receipt.pack())


def erase(descriptor: int, number: int) -> None:
    """Take a receipt back for good, before the part's bytes change."""
    _write(descriptor, number, bytes(_RECEIPT_BYTES))


def read(descriptor: int, number: int) -> Receipt | None:
    buffer = bytearray(_RECEIPT_BYTES)
    read_exactly(descriptor, memoryview(buffer), number * _RECEIPT_BYTES)
    return _unpack(number, bytes(buffer))


def read_all(descriptor: int) -> Iterator[Receipt]:
    """Every receipt, by number."""
    size = min(os.fstat(descriptor).st_size, (MAX_PARTS + 1) * _RECEIPT_BYTES)
    buffer = bytearray(size)
    read_exactly(descriptor, memoryview(buffer), 0)
    for number in range(1, size // _RECEIPT_BYTES):
        receipt = _unpack(number, bytes(buffer[number * _RECEIPT_BYTES : (number + 1) * _RECEIPT_BYTES]))
        if receipt is not None:
            yield receipt


def _write(descriptor: int, number: int, data: bytes) -> None:
    assert 1 <= number <= MAX_PARTS
    write_exactly(descriptor, memoryview(data), number * _RECEIPT_BYTES)
    os.fdatasync(descriptor)


def _unpack(number: int, data: bytes) -> Receipt | None:
    fields = data[: _FIELDS.size]
    stored_at, check = _CHECK.unpack(data[_FIELDS.size :])
    if check != zlib.crc32(fields) or not 0 <= stored_at < _LATEST:
        return None
    offset, size, checksum = _FIELDS.unpack(fields)
    return Receipt(number, offset, size, checksum, stored_at)
