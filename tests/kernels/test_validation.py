"""What is refused as damaged is what ggml refuses."""

from __future__ import annotations

import numpy as np
import oracle
import pytest

from ggufactory_kernels import TENSOR_TYPES
from ggufactory_kernels.validation import first_invalid_block

BLOCKS = 3


@pytest.mark.parametrize("type", TENSOR_TYPES)
def test_every_byte_of_a_block(type: str) -> None:
    """A block with one or two bytes set, everywhere: scales, and nothing else, make it unusable."""
    size = TENSOR_TYPES[type].block_bytes
    found = set()
    for at in range(size):
        for value in (0x7C, 0x7F, 0x80, 0xFC, 0xFF):
            packed = np.zeros((BLOCKS, size), np.uint8)
            packed[1, max(at - 1, 0) : at + 1] = value
            # IQ1_M keeps a quarter of its scale's exponent in each of these bytes.
            packed[1, size - 1] |= 0x70 if type == "IQ1_M" else 0
            valid = oracle.is_valid(packed, type)
            assert first_invalid_block(packed, type) == (None if valid else 1), (at, value)
            found.add(valid)
    integers = type.startswith("I") and type[1:].isdecimal()
    assert found == ({True} if integers or type == "NVFP4" else {True, False})


@pytest.mark.parametrize("type", TENSOR_TYPES)
def test_any_bytes(type: str) -> None:
    rng = np.random.default_rng(TENSOR_TYPES[type].number)
    for count in (1, 2, 5, 40):
        for _ in range(25):
            packed = rng.integers(0, 256, (count, TENSOR_TYPES[type].block_bytes), np.uint8)
            first = first_invalid_block(packed, type)
            assert oracle.is_valid(packed, type) == (first is None)
            if first is not None:
                assert not oracle.is_valid(packed[first : first + 1], type)
                assert first == 0 or oracle.is_valid(packed[:first], type)


def test_part_of_a_block() -> None:
    with pytest.raises(ValueError, match="no whole number of blocks of 34"):
        first_invalid_block(np.zeros(35, np.uint8), "Q8_0")
