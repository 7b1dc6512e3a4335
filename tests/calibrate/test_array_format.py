"""Named arrays as one object: what is not as it was written is refused."""

from __future__ import annotations

import numpy as np
import pytest

from ggufactory.calibrate.array_format import decode_arrays, encode_arrays
from ggufactory.errors import InputError

ARRAYS = {
    "a": np.arange(6, dtype=np.float64).reshape(2, 3),
    "b c": np.array([1, -2], np.int64),
    "": np.zeros((0, 4), np.uint8),
}


def test_they_come_back() -> None:
    found = decode_arrays(encode_arrays(ARRAYS), "x")
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


def test_every_changed_byte_is_seen() -> None:
    data = encode_arrays(ARRAYS)
    payload = data.index(b"\n") + 1
    for at in range(payload, len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1
        with pytest.raises(InputError, match="x is damaged"):
            decode_arrays(bytes(damaged), "x")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"no json",
        b"[]",
        b'{"crc32": 0}',
        b'{"crc32": 0, "arrays": [["a", "float64", [4611686018427387904]]]}',
        b'{"crc32": 0, "arrays": [["a", "float64", [-1]]]}',
        b'{"crc32": 0, "arrays": [["a", "object", [0]]]}',
        b'{"crc32": 0, "arrays": [["a", "float64", [true]]]}',
        b'{"crc32": 0, "arrays": 7}',
        b"[" * 100_000,
    ],
    ids=lambda line: line[:60].decode(),
)
def test_other_content_is_refused(line: bytes) -> None:
    for data in (line, line + b"\n"):
        with pytest.raises(InputError, match="damaged"):
            decode_arrays(data, "x")


def test_cut_off_anywhere() -> None:
    data = encode_arrays(ARRAYS)
    for length in range(len(data)):
        with pytest.raises(InputError, match="damaged"):
            decode_arrays(data[:length], "x")
