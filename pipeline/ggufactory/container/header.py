"""The header of a GGUF file, and its bytes: everything before the tensor data.

Format: GGUF version 3, little endian, as `gguf_write_out` of ggml's gguf.cpp writes it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from ggufactory.container.metadata import KeyValue, Scalar, ValueType
from ggufactory.errors import InputError

MAGIC = b"GGUF"
VERSION = 3
DEFAULT_ALIGNMENT = 32
ALIGNMENT_KEY = "general.alignment"
MAX_DIMENSIONS = 4
MAX_NAME_BYTES = 63
"""ggml keeps a tensor's name in 64 bytes, the last of them zero."""

SCALAR_FORMATS = {
    ValueType.UINT8: "B",
    ValueType.INT8: "b",
    ValueType.UINT16: "H",
    ValueType.INT16: "h",
    ValueType.UINT32: "I",
    ValueType.INT32: "i",
    ValueType.FLOAT32: "f",
    ValueType.BOOL: "?",
    ValueType.UINT64: "Q",
    ValueType.INT64: "q",
    ValueType.FLOAT64: "d",
}
"""How `struct` packs each type of fixed size, little endian."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where one tensor lies. `ne` is ggml's shape: columns (the contiguous axis) first."""

    name: str
    ne: tuple[int, ...]
    type: int
    """ggml's number of the tensor type."""
    offset: int
    """Of its first byte, from the start of the tensor data; a multiple of the alignment."""


@dataclass(frozen=True, slots=True)
class Header:
    """A decoded header. `data_offset`: of the tensor data, from the start of the file, in bytes."""

    metadata: tuple[KeyValue, ...]
    tensors: tuple[TensorInfo, ...]
    alignment: int
    data_offset: int


def padded(size: int, alignment: int) -> int:
    """`size` rounded up to a multiple of `alignment`."""
    return size + -size % alignment


def encode_header(
    metadata: Sequence[KeyValue], tensors: Sequence[TensorInfo], alignment: int = DEFAULT_ALIGNMENT
) -> bytes:
    """The bytes before the tensor data, padding included; the order of both sequences is kept.

    InputError for a value that its type cannot hold.
    """
    out = bytearray(MAGIC + struct.pack("<IQQ", VERSION, len(tensors), len(metadata)))
    for entry in metadata:
        try:
            _encode_entry(out, entry)
        except (struct.error, OverflowError, UnicodeEncodeError, TypeError) as error:
            raise InputError(f"metadata key {entry.key}: not a value of type {entry.type.name}: {error}") from error
    for tensor in tensors:
        _encode_tensor(out, tensor)
    out += bytes(padded(len(out), alignment) - len(out))
    return bytes(out)


def _encode_entry(out: bytearray, entry: KeyValue) -> None:
    _encode_string(out, entry.key)
    out += struct.pack("<I", entry.type)
    if entry.type is not ValueType.ARRAY:
        assert not isinstance(entry.value, tuple), entry.key
        _encode_items(out, entry.type, (entry.value,))
        return
    assert isinstance(entry.value, tuple), entry.key
    assert entry.item_type is not None, entry.key
    out += struct.pack("<IQ", entry.item_type, len(entry.value))
    _encode_items(out, entry.item_type, entry.value)


def _encode_items(out: bytearray, kind: ValueType, items: tuple[Scalar, ...]) -> None:
    if kind is not ValueType.STRING:
        out += struct.pack(f"<{len(items)}{SCALAR_FORMATS[kind]}", *items)
        return
    out += _encode_array_of_strings(items) if len(items) > 1 else _encode_strings(items)


def _encode_strings(items: tuple[Scalar, ...]) -> bytes:
    out = bytearray()
    for item in items:
        if not isinstance(item, str | bytes):
            raise TypeError(f"found {item!r}")
        _encode_string(out, item)
    return bytes(out)


_encode_array_of_strings = lru_cache(maxsize=8)(_encode_strings)
"""All files of a ladder hold the same vocabulary. (Strings alone: as keys of a cache, 0.0 and -0.0 are the same.)"""


def _encode_string(out: bytearray, text: str | bytes) -> None:
    data = text.encode() if isinstance(text, str) else text
    out += struct.pack("<Q", len(data)) + data


def _encode_tensor(out: bytearray, tensor: TensorInfo) -> None:
    name = tensor.name.encode()
    if len(name) > MAX_NAME_BYTES:
        raise InputError(f"tensor name {tensor.name}: {len(name)} bytes, at most {MAX_NAME_BYTES} are kept by ggml")
    assert 1 <= len(tensor.ne) <= MAX_DIMENSIONS, tensor
    _encode_string(out, name)
    # ggml drops trailing ones when it counts dimensions, but never the first.
    count = max((i + 1 for i, n in enumerate(tensor.ne) if n > 1), default=1)
    out += struct.pack(f"<I{count}QIQ", count, *tensor.ne[:count], tensor.type, tensor.offset)
