"""Collecting metadata in the converter's order, with each value checked against its type.

Values come from files of strangers. As in gguf-py's writer, a key that is set again keeps its place,
and empty strings and arrays are not written.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from ggufactory.checkpoint.json_object import clip
from ggufactory.container.metadata import KeyValue, Scalar, ValueType
from ggufactory.errors import InputError

_INTEGER_RANGES = {
    ValueType.UINT32: (0, (1 << 32) - 1),
    ValueType.INT32: (-(1 << 31), (1 << 31) - 1),
}


class KeyValues:
    """An ordered set of metadata entries. Every setter raises InputError for a value of the wrong kind."""

    def __init__(self) -> None:
        self._entries: dict[str, KeyValue] = {}

    def entries(self) -> tuple[KeyValue, ...]:
        return tuple(self._entries.values())

    def text(self, key: str, value: object) -> None:
        if value or not isinstance(value, str):
            self._set(key, ValueType.STRING, _text(key, value))

    def uint32(self, key: str, value: object) -> None:
        self._set(key, ValueType.UINT32, _integer(key, value, ValueType.UINT32))

    def int32(self, key: str, value: object) -> None:
        self._set(key, ValueType.INT32, _integer(key, value, ValueType.INT32))

    def float32(self, key: str, value: object) -> None:
        self._set(key, ValueType.FLOAT32, _float32(key, value))

    def boolean(self, key: str, value: object) -> None:
        if not isinstance(value, bool):
            raise _wrong(key, "true or false", value)
        self._set(key, ValueType.BOOL, value)

    def texts(self, key: str, values: Sequence[object]) -> None:
        """Items may be `bytes`: tokens need not be valid UTF-8."""
        items = tuple(v if isinstance(v, bytes) else _text(key, v) for v in values)
        self._set_array(key, ValueType.STRING, items)

    def int32s(self, key: str, values: Sequence[object]) -> None:
        self._set_array(key, ValueType.INT32, tuple(_integer(key, v, ValueType.INT32) for v in values))

    def uint8s(self, key: str, values: bytes) -> None:
        self._set_array(key, ValueType.UINT8, tuple(values))

    def booleans(self, key: str, values: Sequence[object]) -> None:
        if wrong := [value for value in values if not isinstance(value, bool)]:
            raise _wrong(key, "true or false", wrong[0])
        self._set_array(key, ValueType.BOOL, tuple(value for value in values if isinstance(value, bool)))

    def float32s(self, key: str, values: Sequence[object]) -> None:
        self._set_array(key, ValueType.FLOAT32, tuple(_float32(key, v) for v in values))

    def _set(self, key: str, kind: ValueType, value: Scalar) -> None:
        self._entries[key] = KeyValue(key, kind, value)

    def _set_array(self, key: str, item_type: ValueType, items: tuple[Scalar, ...]) -> None:
        if items:
            self._entries[key] = KeyValue(key, ValueType.ARRAY, items, item_type)


def _text(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise _wrong(key, "text", value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _wrong(key, "valid Unicode text", value) from None
    return value


def _integer(key: str, value: object, kind: ValueType) -> int:
    low, high = _INTEGER_RANGES[kind]
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise _wrong(key, f"a whole number from {low} to {high}", value)
    return value


def _float32(key: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        try:
            rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
        except OverflowError:
            pass
        else:
            return rounded
    raise _wrong(key, "a number that single precision can hold", value)


def _wrong(key: str, wanted: str, value: object) -> InputError:
    return InputError(f"metadata key {key}: wanted {wanted}, found {clip(value)}")
