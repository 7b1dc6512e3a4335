"""Decoding the header of a GGUF file that comes from a stranger.

The limits are those of ggml's gguf.cpp, and tighter ones on memory: no length, count or offset is
believed before the file could hold it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from math import prod

from ggufactory.container.header import (
    ALIGNMENT_KEY,
    DEFAULT_ALIGNMENT,
    MAGIC,
    MAX_DIMENSIONS,
    MAX_NAME_BYTES,
    SCALAR_FORMATS,
    VERSION,
    Header,
    TensorInfo,
    padded,
)
from ggufactory.container.metadata import KeyValue, Scalar, Value, ValueType
from ggufactory.container.reader import FieldReader, RangeRead
from ggufactory_kernels.types import TENSOR_TYPES, TensorType

MAX_ARRAY_ITEMS = 4 << 20
"""Of all arrays together. The largest vocabularies have about a million tokens, scores and merges."""
MAX_ENTRIES = 1 << 16
MAX_TENSORS = 1 << 17
"""The largest published models have a few thousand."""
MAX_ELEMENTS = (1 << 63) - 1
_SHORTEST_ENTRY = 8 + 4 + 1
_SHORTEST_TENSOR = 8 + 4 + 8 + 4 + 8
_TYPE_BY_NUMBER = {kind.number: kind for kind in TENSOR_TYPES.values()}
_SHOWN = 80


def decode_header(read: RangeRead, file_size: int, name: str = "GGUF file") -> Header:
    """The header of the file that `read` gives ranges of; `name` is for messages.

    Strings that are not UTF-8 stay `bytes`. InputError for a file that is no GGUF file of version 3,
    is cut off anywhere (its tensor data included), or contradicts itself.
    """
    reader = FieldReader(read, file_size, name)
    _check_kind(reader)
    tensor_count = reader.number("Q", "the tensor count")
    entry_count = reader.number("Q", "the metadata count")
    for count, most, what in ((tensor_count, MAX_TENSORS, "tensors"), (entry_count, MAX_ENTRIES, "metadata entries")):
        if count > most:
            raise reader.fault(f"{count:,} {what}, at most {most:,} are read")
    reader.check_room(entry_count, _SHORTEST_ENTRY, f"{entry_count:,} metadata entries")
    metadata = _decode_metadata(reader, entry_count)
    alignment = _alignment(reader, metadata)
    reader.check_room(tensor_count, _SHORTEST_TENSOR, f"{tensor_count:,} tensor descriptions")
    tensors = tuple(_decode_tensor(reader) for _ in range(tensor_count))
    data_offset = padded(reader.position, alignment)
    _check_layout(reader, tensors, alignment, file_size - data_offset)
    return Header(metadata, tensors, alignment, data_offset)


def _check_kind(reader: FieldReader) -> None:
    magic = reader.take(len(MAGIC), "the magic number")
    if magic != MAGIC:
        raise reader.fault(f"not a GGUF file: it begins with {magic!r}, wanted {MAGIC!r}")
    version = reader.number("I", "the version")
    if version == VERSION:
        return
    if version & 0xFFFF == 0:
        raise reader.fault("a big-endian GGUF file", fix="Convert it with gguf-convert-endian")
    raise reader.fault(f"GGUF version {version}, wanted {VERSION}", fix="Convert the model again")


def _decode_metadata(reader: FieldReader, count: int) -> tuple[KeyValue, ...]:
    entries: dict[str, KeyValue] = {}
    items = 0
    for _ in range(count):
        key = _utf8(reader, reader.string("a metadata key"), "metadata key")
        if key in entries:
            raise reader.fault(f"metadata key {_shown(key)} is there twice")
        kind = _value_type(reader, key)
        if kind is not ValueType.ARRAY:
            entries[key] = KeyValue(key, kind, next(iter(_decode_items(reader, kind, 1, key))))
            continue
        item_type = _value_type(reader, key)
        if item_type is ValueType.ARRAY:
            raise reader.fault(f"metadata key {_shown(key)} is an array of arrays, which GGUF does not have")
        length = reader.number("Q", f"the length of {_shown(key)}")
        items += length
        if items > MAX_ARRAY_ITEMS:
            raise reader.fault(f"metadata key {_shown(key)}: {items:,} array items, at most {MAX_ARRAY_ITEMS:,}")
        value: Value = tuple(_decode_items(reader, item_type, length, key))
        entries[key] = KeyValue(key, kind, value, item_type)
    return tuple(entries.values())


def _value_type(reader: FieldReader, key: str) -> ValueType:
    number = reader.number("I", f"the type of {_shown(key)}")
    try:
        return ValueType(number)
    except ValueError:
        raise reader.fault(f"metadata key {_shown(key)} has the unknown value type {number}") from None


def _decode_items(reader: FieldReader, kind: ValueType, count: int, key: str) -> Iterable[Scalar]:
    what = f"the value of {_shown(key)}"
    if kind is ValueType.STRING:
        reader.check_room(count, 8, what)
        return [_text(reader.string(what)) for _ in range(count)]
    code = f"<{count}{SCALAR_FORMATS[kind]}"
    items: tuple[bool | int | float, ...] = struct.unpack(code, reader.take(struct.calcsize(code), what))
    return items


def _alignment(reader: FieldReader, metadata: tuple[KeyValue, ...]) -> int:
    entry = next((e for e in metadata if e.key == ALIGNMENT_KEY), None)
    if entry is None:
        return DEFAULT_ALIGNMENT
    value = entry.value
    if entry.type is not ValueType.UINT32 or not isinstance(value, int) or value.bit_count() != 1:
        raise reader.fault(f"{ALIGNMENT_KEY} is {entry.type.name} {value!r}, wanted UINT32 and a power of two")
    return value


def _decode_tensor(reader: FieldReader) -> TensorInfo:
    raw = reader.string("a tensor name")
    if len(raw) > MAX_NAME_BYTES:
        raise reader.fault(f"tensor name of {len(raw):,} bytes, at most {MAX_NAME_BYTES}")
    name = _utf8(reader, raw, "tensor name")
    dimensions = reader.number("I", f"the shape of {_shown(name)}")
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise reader.fault(f"tensor {_shown(name)} has {dimensions} dimensions, wanted 1 to {MAX_DIMENSIONS}")
    ne = tuple(reader.number("Q", f"the shape of {_shown(name)}") for _ in range(dimensions))
    number = reader.number("I", f"the type of {_shown(name)}")
    offset = reader.number("Q", f"the offset of {_shown(name)}")
    if prod(ne) > MAX_ELEMENTS or max(ne) > MAX_ELEMENTS:
        raise reader.fault(f"tensor {_shown(name)} has the impossible shape {ne}")
    return TensorInfo(name, ne, number, offset)


def _check_layout(reader: FieldReader, tensors: tuple[TensorInfo, ...], alignment: int, room: int) -> None:
    """ggml's rule: each tensor begins where the one before it ends, padded; the last need not be padded."""
    seen: set[str] = set()
    expected = 0
    for tensor in tensors:
        if tensor.name in seen:
            raise reader.fault(f"tensor {_shown(tensor.name)} is there twice")
        seen.add(tensor.name)
        if tensor.offset != expected:
            raise reader.fault(f"tensor {_shown(tensor.name)} is at offset {tensor.offset:,}, wanted {expected:,}")
        end = tensor.offset + _tensor_bytes(reader, tensor)
        if end > room:
            raise reader.fault(
                f"the file ends too early: tensor {_shown(tensor.name)} ends at byte {end:,} of the tensor data, "
                f"of which {max(room, 0):,} are there",
                fix="Download it again",
            )
        expected = padded(end, alignment)


def _tensor_bytes(reader: FieldReader, tensor: TensorInfo) -> int:
    kind: TensorType | None = _TYPE_BY_NUMBER.get(tensor.type)
    if kind is None:
        raise reader.fault(f"tensor {_shown(tensor.name)} has the unknown tensor type {tensor.type}")
    if tensor.ne[0] % kind.block:
        raise reader.fault(
            f"tensor {_shown(tensor.name)} of type {kind.name} has rows of {tensor.ne[0]} weights, "
            f"wanted a multiple of {kind.block}"
        )
    return prod(tensor.ne) // kind.block * kind.block_bytes


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _utf8(reader: FieldReader, data: bytes, what: str) -> str:
    text = _text(data)
    if isinstance(text, bytes):
        raise reader.fault(f"{what} {_shown(repr(text))} is not UTF-8")
    return text


def _shown(text: str) -> str:
    """Printable and short, whatever a stranger called it."""
    shown = text if text.isprintable() else repr(text)
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
