"""Named arrays as one object: a line of JSON that lists them, and their bytes.

For what a calibration keeps until it is finished. Read back, it is checked to its last byte.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ggufactory.errors import InputError

_DTYPES = ("uint8", "int64", "float64")
_MAX_LINE_BYTES = 64 << 20
_MAX_DIMENSIONS = 4

Arrays = Mapping[str, npt.NDArray[Any]]


def encode_arrays(arrays: Arrays) -> bytes:
    """Of bytes, int64 or float64."""
    listed = [[name, array.dtype.name, list(array.shape)] for name, array in arrays.items()]
    payload = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())
    head = json.dumps({"crc32": zlib.crc32(payload), "arrays": listed}).encode()
    return head + b"\n" + payload


def decode_arrays(data: bytes, where: str) -> dict[str, npt.NDArray[Any]]:
    """InputError, naming `where`, unless every byte is as it was written. The arrays cannot be written to."""
    try:
        return _decode(data)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{where} is damaged", fix="Start the calibration anew, with --restart") from error


def _decode(data: bytes) -> dict[str, npt.NDArray[Any]]:
    line = data.index(b"\n", 0, _MAX_LINE_BYTES)
    head = json.loads(data[:line])
    at, found = line + 1, {}
    if zlib.crc32(memoryview(data)[at:]) != head["crc32"]:
        raise ValueError("checksum")
    for name, dtype, shape in head["arrays"]:
        if dtype not in _DTYPES or len(shape) > _MAX_DIMENSIONS or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(f"{name}: {dtype} {shape}")
        count = math.prod(shape)
        found[str(name)] = np.frombuffer(data, dtype, count, at).reshape(shape)
        at += count * np.dtype(dtype).itemsize
    if at != len(data):
        raise ValueError("length")
    return found
