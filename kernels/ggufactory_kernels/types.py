"""The one table of tensor types: ggml's names and numbers, and how a block of each is laid out.

Standard library only, so that planning needs no compiled code. `csrc/blocks.h` asserts the same sizes.
Numbers and layouts are those of `enum ggml_type` and ggml-common.h. Not in the table: Q8_1 and Q8_K,
which ggml uses for activations and never writes to a file, and the numbers of removed types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

HALF = 2
"""Bytes of the half-precision scale (or minimum) that a block stores."""
SUPER_BLOCK = 256
"""Weights in a super-block: QK_K of the K and IQ types."""


_WITHOUT_IMPORTANCE = frozenset({"Q8_0", "Q1_0", "Q2_0", "TQ1_0", "TQ2_0", "MXFP4", "NVFP4"})
"""Types whose scale follows from the block's largest value (or mean) alone: nothing is searched."""
WEIGHED_BY_ROW = frozenset({"Q4_0", "Q4_1", "Q5_0", "Q5_1"})
"""With importance their element weights depend on the mean square of the row."""


@dataclass(frozen=True, slots=True)
class TensorType:
    """How one tensor is stored. Every row is a whole number of blocks."""

    name: str
    number: int
    """ggml's number of the type, as a GGUF file stores it."""
    block: int
    """Weights in a block."""
    block_bytes: int
    is_quantized: bool = True
    """False where a block is a single plain number."""
    needs_importance: bool = False
    """Quantizing to it without an importance matrix is refused (ggml_quantize_requires_imatrix)."""

    @property
    def uses_importance(self) -> bool:
        """Whether importance weights change its bytes."""
        return self.is_quantized and self.name not in _WITHOUT_IMPORTANCE

    def row_bytes(self, columns: int) -> int:
        """Bytes of one row of `columns` weights. ValueError where it is no whole number of blocks."""
        if columns <= 0 or columns % self.block:
            raise ValueError(f"{self.name}: rows are multiples of {self.block} weights, found {columns}")
        return columns // self.block * self.block_bytes


_ALL = (
    TensorType("F32", 0, 1, 4, is_quantized=False),
    TensorType("F16", 1, 1, 2, is_quantized=False),
    TensorType("BF16", 30, 1, 2, is_quantized=False),
    TensorType("F64", 28, 1, 8, is_quantized=False),
    TensorType("I8", 24, 1, 1, is_quantized=False),
    TensorType("I16", 25, 1, 2, is_quantized=False),
    TensorType("I32", 26, 1, 4, is_quantized=False),
    TensorType("I64", 27, 1, 8, is_quantized=False),
    # One scale (and minimum) for a short block. Sums: scale, [minimum,] [fifth bits,] low bits.
    TensorType("Q4_0", 2, 32, HALF + 32 // 2),
    TensorType("Q4_1", 3, 32, HALF + HALF + 32 // 2),
    TensorType("Q5_0", 6, 32, HALF + 32 // 8 + 32 // 2),
    TensorType("Q5_1", 7, 32, HALF + HALF + 32 // 8 + 32 // 2),
    TensorType("Q8_0", 8, 32, HALF + 32),
    TensorType("Q1_0", 41, 128, HALF + 128 // 8),
    TensorType("Q2_0", 42, 64, HALF + 64 // 4),
    # K-quants: sub-blocks of 16 or 32 whose scales are themselves quantized.
    TensorType("Q2_K", 10, SUPER_BLOCK, SUPER_BLOCK // 16 + SUPER_BLOCK // 4 + HALF + HALF),
    TensorType("Q3_K", 11, SUPER_BLOCK, SUPER_BLOCK // 8 + SUPER_BLOCK // 4 + 12 + HALF),
    TensorType("Q4_K", 12, SUPER_BLOCK, HALF + HALF + 12 + SUPER_BLOCK // 2),
    TensorType("Q5_K", 13, SUPER_BLOCK, HALF + HALF + 12 + SUPER_BLOCK // 8 + SUPER_BLOCK // 2),
    TensorType("Q6_K", 14, SUPER_BLOCK, SUPER_BLOCK // 2 + SUPER_BLOCK // 4 + SUPER_BLOCK // 16 + HALF),
    # Codebooks: groups of weights are indices into a grid.
    TensorType("IQ1_S", 19, SUPER_BLOCK, HALF + SUPER_BLOCK // 8 + SUPER_BLOCK // 16, needs_importance=True),
    TensorType("IQ1_M", 29, SUPER_BLOCK, SUPER_BLOCK // 8 + SUPER_BLOCK // 16 + SUPER_BLOCK // 32),
    TensorType("IQ2_XXS", 16, SUPER_BLOCK, HALF + SUPER_BLOCK // 4, needs_importance=True),
    TensorType("IQ2_XS", 17, SUPER_BLOCK, HALF + SUPER_BLOCK // 4 + SUPER_BLOCK // 32, needs_importance=True),
    TensorType("IQ2_S", 22, SUPER_BLOCK, HALF + SUPER_BLOCK // 4 + SUPER_BLOCK // 32 + SUPER_BLOCK // 32),
    TensorType("IQ3_XXS", 18, SUPER_BLOCK, HALF + SUPER_BLOCK // 4 + SUPER_BLOCK // 8),
    TensorType(
        "IQ3_S",
        21,
        SUPER_BLOCK,
        HALF + SUPER_BLOCK // 4 + SUPER_BLOCK // 32 + SUPER_BLOCK // 8 + SUPER_BLOCK // 64,
    ),
    # Sixteen unevenly spaced values.
    TensorType("IQ4_NL", 20, 32, HALF + 32 // 2),
    TensorType("IQ4_XS", 23, SUPER_BLOCK, HALF + 2 + SUPER_BLOCK // 64 + SUPER_BLOCK // 2),
    # Ternary: five (and, for the last 16 weights, four) digits to a byte, or two bits each.
    TensorType("TQ1_0", 34, SUPER_BLOCK, (SUPER_BLOCK - 16) // 5 + 16 // 4 + HALF),
    TensorType("TQ2_0", 35, SUPER_BLOCK, SUPER_BLOCK // 4 + HALF),
    # Four-bit floats under a shared scale: E8M0 for 32, UE4M3 for each 16.
    TensorType("MXFP4", 39, 32, 1 + 32 // 2),
    TensorType("NVFP4", 40, 64, 64 // 16 + 64 // 2),
)

TENSOR_TYPES: Mapping[str, TensorType] = MappingProxyType({type_.name: type_ for type_ in _ALL})
"""Every tensor type that a GGUF file of the pinned llama.cpp release may hold, by name."""


def tensor_type(name: str) -> TensorType:
    """The row of the table. ValueError that lists the known names."""
    try:
        return TENSOR_TYPES[name]
    except KeyError:
        raise ValueError(f"unknown tensor type {name!r}; known: {', '.join(TENSOR_TYPES)}") from None
