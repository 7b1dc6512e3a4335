from __future__ import annotations

import zlib

from hypothesis import given
from hypothesis import strategies as st

from ggufactory.storage.crc32 import combine


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_the_crc_of_a_whole_follows_from_its_parts(parts: list[bytes]) -> None:
    assert combine((zlib.crc32(part), len(part)) for part in parts) == zlib.crc32(b"".join(parts))


def test_parts_of_a_realistic_size() -> None:
    part, last = bytes(range(256)) * (40 << 10), b"tail"
    whole = zlib.crc32(last, zlib.crc32(part, zlib.crc32(part)))
    parts = [(zlib.crc32(part), len(part))] * 2 + [(zlib.crc32(last), len(last))]
    assert combine(parts) == whole


def test_ten_thousand_parts_of_a_file_larger_than_memory() -> None:
    # A run of zero bytes: its CRC after 2^k bytes follows from squaring, independently of the part sizes.
    zeros = 1 << 30
    crc = zlib.crc32(bytes(1 << 20))
    for size in (1 << shift for shift in range(20, 30)):
        crc = combine([(crc, size), (crc, size)])
    piece = zlib.crc32(bytes(1 << 16))
    assert combine([(piece, 1 << 16)] * (zeros >> 16)) == crc
