"""CRC-32 (IEEE) of a whole object from the CRCs of its parts, without reading a byte again.

A CRC is a remainder of polynomials over GF(2): appending n bytes multiplies the remainder of what came
before by x^(8n). That is the method of zlib's `crc32_combine_op`; the bit order is reflected, as there:
bit 31 is the coefficient of x^0.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

_POLYNOMIAL = 0xEDB88320
_ONE = 1 << 31


def combine(parts: Iterable[tuple[int, int]]) -> int:
    """The CRC-32 of the concatenation of `parts`, each given as (its CRC-32, its length in bytes)."""
    total = 0
    for crc, size in parts:
        total = _multiply(_shift(size), total) ^ crc
    return total


def _multiply(a: int, b: int) -> int:
    """a · b modulo the CRC's polynomial."""
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = (a << 1) & 0xFFFFFFFF
        b = (b >> 1) ^ _POLYNOMIAL if b & 1 else b >> 1
    return product


@lru_cache(maxsize=4096)
def _shift(size: int) -> int:
    """x^(8 · size), by squaring; the parts of one file have few distinct sizes, hence the cache."""
    power, square = _ONE, _ONE >> 8  # x^0, x^8
    while size:
        if size & 1:
            power = _multiply(power, square)
        square = _multiply(square, square)
        size >>= 1
    return power
