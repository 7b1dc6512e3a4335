"""Numbers as safetensors stores them, in NumPy's terms and in single precision.

NumPy has no bfloat16 and no 8-bit floats: those are held as unsigned integers. All conversions are
exact, as PyTorch's `float()` is for the same types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Singles = npt.NDArray[np.float32]

NUMPY_TYPES: Mapping[str, np.dtype[Any]] = {
    **dict.fromkeys(("U8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), np.dtype(np.uint8)),
    "I8": np.dtype(np.int8),
    "BF16": np.dtype("<u2"),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
}
"""What holds one number of each dtype of safetensors that packed checkpoints use."""

FLOATS = ("BF16", "F16", "F32")
"""Plain numbers, as weights and most scales are stored."""


def _e4m3() -> Singles:
    """No infinities; one NaN of each sign; denormals are eighths of 2^-6. The "fn" variant of OCP's FP8."""
    byte = np.arange(256)
    exponent, mantissa = byte >> 3 & 15, byte & 7
    size = np.where(exponent == 0, np.ldexp(mantissa, -9), np.ldexp(8 + mantissa, exponent - 10))
    size[byte & 127 == 127] = np.nan
    signed: Singles = np.copysign(size, 127.5 - byte).astype(np.float32)
    return signed


def _e5m2() -> Singles:
    """The upper byte of a half-precision number."""
    return (np.arange(256, dtype=np.uint16) << 8).view(np.float16).astype(np.float32)


def _e8m0() -> Singles:
    """Powers of two from 2^-127, and a NaN."""
    return np.append(np.ldexp(1.0, np.arange(255) - 127), np.nan).astype(np.float32)


BYTE_VALUES: Mapping[str, Singles] = {
    "F8_E4M3": _e4m3(),
    "F8_E5M2": _e5m2(),
    "F8_E8M0": _e8m0(),
    "I8": np.arange(256, dtype=np.uint8).view(np.int8).astype(np.float32),
}
"""The number that each byte stands for, by dtype."""


def singles(numbers: Array, dtype: str) -> Singles:
    """`numbers` (held as `NUMPY_TYPES` says) in single precision."""
    if dtype in BYTE_VALUES:
        return BYTE_VALUES[dtype][numbers.view(np.uint8)]
    if dtype == "BF16":
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    return numbers.astype(np.float32, copy=False)


def overflow_ignored() -> np.errstate:
    """Around arithmetic on what is stored: where it gives no finite number, the kernels say so, with the place."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")
