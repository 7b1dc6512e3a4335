"""One metadata entry of a GGUF file: a key, a value type, a value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class ValueType(IntEnum):
    """GGUF's value types and their numbers in the file."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


Scalar = bool | int | float | str | bytes
Value = Scalar | tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class KeyValue:
    """`item_type` is set for arrays only. Strings are `str`, or `bytes` where they are not valid UTF-8
    (vocabularies hold such tokens)."""

    key: str
    type: ValueType
    value: Value
    item_type: ValueType | None = None
