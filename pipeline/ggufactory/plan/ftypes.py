"""The table of file types: llama-quantize's names and numbers, and the tensor type each is built on.

Source: llama.cpp, `tools/quantize/quantize.cpp` (names), `include/llama.h` (numbers) and
`llama_ftype_get_default_type` in `src/llama-quant.cpp` (base types).
"""

from __future__ import annotations

from dataclasses import dataclass

from ggufactory.errors import InputError
from ggufactory_kernels.types import TENSOR_TYPES


@dataclass(frozen=True, slots=True)
class FileType:
    """A named mix of tensor types."""

    name: str
    number: int
    """The value of `general.file_type`."""
    base: str
    """The tensor type that the recipe starts from for every tensor."""

    @property
    def is_mix(self) -> bool:
        """False for F32, F16 and BF16, whose tensors all take the base type as it is."""
        return self.base not in ("F32", "F16", "BF16")


_ROWS = (
    ("F32", 0, "F32"),
    ("F16", 1, "F16"),
    ("Q4_0", 2, "Q4_0"),
    ("Q4_1", 3, "Q4_1"),
    ("Q8_0", 7, "Q8_0"),
    ("Q5_0", 8, "Q5_0"),
    ("Q5_1", 9, "Q5_1"),
    ("Q2_K", 10, "Q2_K"),
    ("Q3_K_S", 11, "Q3_K"),
    ("Q3_K_M", 12, "Q3_K"),
    ("Q3_K_L", 13, "Q3_K"),
    ("Q4_K_S", 14, "Q4_K"),
    ("Q4_K_M", 15, "Q4_K"),
    ("Q5_K_S", 16, "Q5_K"),
    ("Q5_K_M", 17, "Q5_K"),
    ("Q6_K", 18, "Q6_K"),
    ("IQ2_XXS", 19, "IQ2_XXS"),
    ("IQ2_XS", 20, "IQ2_XS"),
    ("Q2_K_S", 21, "Q2_K"),
    ("IQ3_XS", 22, "IQ3_S"),
    ("IQ3_XXS", 23, "IQ3_XXS"),
    ("IQ1_S", 24, "IQ1_S"),
    ("IQ4_NL", 25, "IQ4_NL"),
    ("IQ3_S", 26, "IQ3_S"),
    ("IQ3_M", 27, "IQ3_S"),
    ("IQ2_S", 28, "IQ2_XS"),
    ("IQ2_M", 29, "IQ2_S"),
    ("IQ4_XS", 30, "IQ4_XS"),
    ("IQ1_M", 31, "IQ1_M"),
    ("BF16", 32, "BF16"),
    ("TQ1_0", 36, "TQ1_0"),
    ("TQ2_0", 37, "TQ2_0"),
    ("MXFP4_MOE", 38, "MXFP4"),
    ("Q1_0", 40, "Q1_0"),
    ("Q2_0", 41, "Q2_0"),
)

FILE_TYPES = {name: FileType(name, number, base) for name, number, base in _ROWS}

ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}

assert all(file_type.base in TENSOR_TYPES for file_type in FILE_TYPES.values())


def file_type(name: str) -> FileType:
    """The file type of that name or alias, in any case. InputError that lists the known ones."""
    canonical = name.strip().upper()
    found = FILE_TYPES.get(ALIASES.get(canonical, canonical))
    if found is None:
        raise InputError(
            f"unknown rung {name!r}: not a file type of llama-quantize",
            fix=f"Known: {', '.join(FILE_TYPES)} (and {', '.join(ALIASES)} for the _M of each)",
        )
    return found
