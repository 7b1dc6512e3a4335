"""first_mismatch() names the place of a differing byte in the format's words."""

from __future__ import annotations

import numpy as np
import pytest

from ggufactory_kernels.mismatch import first_mismatch


def test_equal_bytes_have_no_mismatch() -> None:
    packed = np.arange(2 * 288, dtype=np.uint8).reshape(2, 288)
    assert first_mismatch(packed, packed.copy(), "Q4_K", 512) is None


def test_the_first_differing_byte_is_named() -> None:
    wanted = np.zeros((3, 2 * 144), np.uint8)
    found = wanted.copy()
    found[1, 144 + 4 + 7] = 0x2A  # the second block's scales
    found[2, 0] = 1
    mismatch = first_mismatch(wanted, found, "Q4_K", 512)
    assert str(mismatch) == ("Q4_K: row 1, block 1, scales[7]: wanted 0x00, found 0x2a; 2 bytes differ in all")


def test_plain_numbers_are_one_field() -> None:
    wanted, found = np.zeros((1, 8), np.uint8), np.zeros((1, 8), np.uint8)
    found[0, 7] = 1
    mismatch = first_mismatch(wanted, found, "F16", 4)
    assert mismatch is not None
    assert (mismatch.block, mismatch.field, mismatch.byte) == (3, "value", 1)


def test_different_sizes_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="rows take 144 bytes, compared are 144 with 145"):
        first_mismatch(np.zeros(144, np.uint8), np.zeros(145, np.uint8), "Q4_K", 256)
