"""Small floating-point formats to and from single precision, by their bits.

Not by Triton's casts: those of FP8 ask for recent GPUs, and the interpreter's cut BF16 off instead of rounding it.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def from_bfloat16(bits: tl.tensor) -> tl.tensor:
    """The number of 16 bits, held as int16."""
    return (bits.to(tl.int32) << 16).to(tl.float32, bitcast=True)


@triton.jit
def to_bfloat16(numbers: tl.tensor) -> tl.tensor:
    """16 bits, held as int16: rounded to nearest, ties to even; NaN stays NaN."""
    bits = numbers.to(tl.int32, bitcast=True)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return tl.where(numbers == numbers, rounded, 0x7FC0).to(tl.int16)


@triton.jit
def from_e4m3(byte: tl.tensor) -> tl.tensor:
    """OCP's FP8 without infinities. `byte`: int32, 0 to 255."""
    size = byte & 127
    denormal = size.to(tl.float32) * 0.001953125  # 2^-9
    normal = ((size << 20) + (120 << 23)).to(tl.float32, bitcast=True)
    found = tl.where(size < 8, denormal, tl.where(size == 127, float("nan"), normal))
    return (found.to(tl.int32, bitcast=True) | ((byte & 128) << 24)).to(tl.float32, bitcast=True)


@triton.jit
def from_e5m2(byte: tl.tensor) -> tl.tensor:
    """The upper byte of a number in half precision. `byte`: int32, 0 to 255."""
    return (byte << 8).to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)


@triton.jit
def doubled_e2m1(nibble: tl.tensor) -> tl.tensor:
    """Twice the number of four bits: an integer, as ggml's table has it, with one zero only. `nibble`: int32."""
    exponent = (nibble >> 1) & 3
    fraction = nibble & 1
    size = tl.where(exponent == 0, fraction, (2 + fraction) << tl.maximum(exponent - 1, 0))
    return tl.where(nibble >= 8, -size, size)


@triton.jit
def half_of_e8m0(byte: tl.tensor) -> tl.tensor:
    """Half of 2^(byte - 127), of which the two smallest are denormal. `byte`: int32, 0 to 255.

    Source: ggml_e8m0_to_fp32_half of ggml-impl.h.
    """
    bits = tl.where(byte < 2, 0x00200000 << tl.minimum(byte, 1), (byte - 1) << 23)
    return bits.to(tl.float32, bitcast=True)
