"""What 8-bit numbers stand for, against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ggufactory.checkpoint.packing.number_types import BYTE_VALUES, singles
from packed_sources import same_bits

DTYPES = {
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu,
    "I8": torch.int8,
}


@pytest.mark.parametrize("dtype", BYTE_VALUES)
def test_every_byte(dtype: str) -> None:
    wanted = torch.arange(256, dtype=torch.uint8).view(DTYPES[dtype]).float()
    assert same_bits(BYTE_VALUES[dtype], wanted)


@pytest.mark.parametrize(("dtype", "held"), [("BF16", torch.bfloat16), ("F16", torch.float16)])
def test_every_half(dtype: str, held: torch.dtype) -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    numbers = bits if dtype == "BF16" else bits.view(np.float16)
    assert same_bits(singles(numbers, dtype), torch.from_numpy(bits.view(np.int16)).view(held).float())
