"""Whether stored blocks are usable, as ggml_validate_row_data asks of everything that llama-quantize reads.

Only what can be wrong is looked at: plain numbers, and the scales of a block, are finite.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from ggufactory_kernels.types import SUPER_BLOCK, tensor_type

_Flags = npt.NDArray[np.bool_]
_Bytes = npt.NDArray[np.uint8]

HALF_SCALES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        **dict.fromkeys(("Q4_0", "Q5_0", "Q8_0", "Q1_0", "Q2_0", "IQ4_NL", "IQ4_XS"), (0,)),
        **dict.fromkeys(("IQ1_S", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"), (0,)),
        **dict.fromkeys(("Q4_1", "Q5_1", "Q4_K", "Q5_K"), (0, 2)),
        "Q2_K": (SUPER_BLOCK // 16 + SUPER_BLOCK // 4, SUPER_BLOCK // 16 + SUPER_BLOCK // 4 + 2),
        "Q3_K": (SUPER_BLOCK // 8 + SUPER_BLOCK // 4 + 12,),
        "Q6_K": (SUPER_BLOCK // 2 + SUPER_BLOCK // 4 + SUPER_BLOCK // 16,),
        "TQ1_0": ((SUPER_BLOCK - 16) // 5 + 16 // 4,),
        "TQ2_0": (SUPER_BLOCK // 4,),
    }
)
"""Where in a block the half-precision scales (and minimums) lie, in bytes; as ggml-common.h orders them."""

_IQ1_M_SCALES = SUPER_BLOCK // 8 + SUPER_BLOCK // 16
_HALF_EXPONENT = 0x7C00
_E8M0_NAN = 0xFF


def first_invalid_block(packed: _Bytes, type: str) -> int | None:
    """The number of the first block of `packed` (contiguous, whole blocks) that is not usable, or None.

    Integers are always usable, as is NVFP4. ValueError for an unknown type or a part of a block.
    """
    kind = tensor_type(type)
    flat = packed.reshape(-1)
    if flat.size % kind.block_bytes:
        raise ValueError(f"{type}: {flat.size} bytes are no whole number of blocks of {kind.block_bytes}")
    invalid = _invalid(flat.reshape(-1, kind.block_bytes), type)
    return int(np.argmax(invalid)) if invalid.any() else None


def _invalid(blocks: _Bytes, type: str) -> _Flags:
    """By block, of blocks [count, bytes per block]."""
    match type:
        case "F32":
            return _is_infinite(blocks.view("<f4")[:, 0])
        case "F64":
            # The reference looks at them in single precision.
            with np.errstate(over="ignore", invalid="ignore"):
                return _is_infinite(blocks.view("<f8")[:, 0].astype(np.float32))
        case "BF16":
            return _has_full_exponent(blocks.view("<u2")[:, 0], 0x7F80)
        case "F16":
            return _has_full_exponent(blocks.view("<u2")[:, 0], _HALF_EXPONENT)
        case "MXFP4":
            return np.equal(blocks[:, 0], _E8M0_NAN)
        case "IQ1_M":
            # The scale is in pieces: the high four bits of four numbers.
            pieces = np.ascontiguousarray(blocks[:, _IQ1_M_SCALES:]).view("<u2") & 0xF000
            scale = pieces[:, 0] >> 12 | pieces[:, 1] >> 8 | pieces[:, 2] >> 4 | pieces[:, 3]
            return _has_full_exponent(scale.astype(np.uint16), _HALF_EXPONENT)
    invalid = np.zeros(len(blocks), np.bool_)
    for at in HALF_SCALES.get(type, ()):
        halves = np.ascontiguousarray(blocks[:, at : at + 2]).view("<u2")[:, 0]
        invalid |= _has_full_exponent(halves, _HALF_EXPONENT)
    return invalid


def _is_infinite(numbers: npt.NDArray[np.float32]) -> _Flags:
    """Or not a number."""
    return np.logical_not(np.isfinite(numbers))


def _has_full_exponent(bits: npt.NDArray[np.uint16], exponent: int) -> _Flags:
    """Infinite or not a number."""
    return np.equal(np.bitwise_and(bits, exponent), exponent)
