"""Where two packings of the same rows first differ, in the words of the format."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ggufactory_kernels.types import TensorType, tensor_type

_FIELDS: dict[str, tuple[tuple[str, int], ...]] = {
    "Q4_0": (("d", 2), ("qs", 16)),
    "Q4_1": (("d", 2), ("m", 2), ("qs", 16)),
    "Q5_0": (("d", 2), ("qh", 4), ("qs", 16)),
    "Q5_1": (("d", 2), ("m", 2), ("qh", 4), ("qs", 16)),
    "Q8_0": (("d", 2), ("qs", 32)),
    "Q1_0": (("d", 2), ("qs", 16)),
    "Q2_0": (("d", 2), ("qs", 16)),
    "Q2_K": (("scales", 16), ("qs", 64), ("d", 2), ("dmin", 2)),
    "Q3_K": (("hmask", 32), ("qs", 64), ("scales", 12), ("d", 2)),
    "Q4_K": (("d", 2), ("dmin", 2), ("scales", 12), ("qs", 128)),
    "Q5_K": (("d", 2), ("dmin", 2), ("scales", 12), ("qh", 32), ("qs", 128)),
    "Q6_K": (("ql", 128), ("qh", 64), ("scales", 16), ("d", 2)),
    "IQ1_S": (("d", 2), ("qs", 32), ("qh", 16)),
    "IQ1_M": (("qs", 32), ("qh", 16), ("scales", 8)),
    "IQ2_XXS": (("d", 2), ("qs", 64)),
    "IQ2_XS": (("d", 2), ("qs", 64), ("scales", 8)),
    "IQ2_S": (("d", 2), ("qs", 64), ("qh", 8), ("scales", 8)),
    "IQ3_XXS": (("d", 2), ("qs", 96)),
    "IQ3_S": (("d", 2), ("qs", 64), ("qh", 8), ("signs", 32), ("scales", 4)),
    "IQ4_NL": (("d", 2), ("qs", 16)),
    "IQ4_XS": (("d", 2), ("scales_h", 2), ("scales_l", 4), ("qs", 128)),
    "TQ1_0": (("qs", 48), ("qh", 4), ("d", 2)),
    "TQ2_0": (("qs", 64), ("d", 2)),
    "MXFP4": (("e", 1), ("qs", 16)),
    "NVFP4": (("d", 4), ("qs", 32)),
}
"""Fields of a block and their bytes, in order; names as in ggml-common.h. Other types are one "value"."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The first byte that differs, and how many do."""

    type: str
    row: int
    block: int
    """Within the row."""
    field: str
    byte: int
    """Within the field."""
    wanted: int
    found: int
    differing_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.type}: row {self.row}, block {self.block}, {self.field}[{self.byte}]: "
            f"wanted 0x{self.wanted:02x}, found 0x{self.found:02x}; {self.differing_bytes} bytes differ in all"
        )


def block_fields(type_: TensorType) -> tuple[tuple[str, int], ...]:
    """(name, bytes) of each field of a block, in order."""
    return _FIELDS.get(type_.name, (("value", type_.block_bytes),))


def first_mismatch(
    wanted: npt.NDArray[np.uint8], found: npt.NDArray[np.uint8], type: str, columns: int
) -> Mismatch | None:
    """Compare packed rows of `columns` weights; None where all bytes are equal.

    ValueError where the sizes differ or are no whole number of rows.
    """
    layout = tensor_type(type)
    row_bytes = layout.row_bytes(columns)
    if wanted.size != found.size or wanted.size % row_bytes:
        raise ValueError(f"{type}: rows take {row_bytes} bytes, compared are {wanted.size} with {found.size}")
    flat_wanted, flat_found = wanted.reshape(-1), found.reshape(-1)
    differing = np.flatnonzero(flat_wanted != flat_found)
    if not differing.size:
        return None
    first = int(differing[0])
    row, in_row = divmod(first, row_bytes)
    block, offset = divmod(in_row, layout.block_bytes)
    field, byte = _field_at(layout, offset)
    return Mismatch(type, row, block, field, byte, int(flat_wanted[first]), int(flat_found[first]), int(differing.size))


def _field_at(type_: TensorType, offset: int) -> tuple[str, int]:
    """The field that byte `offset` of a block lies in, and the byte's place in it."""
    for field, size in block_fields(type_):
        if offset < size:
            return field, offset
        offset -= size
    raise AssertionError("the fields fill the block")
