"""compressed-tensors' "pack-quantized": integers of 2 to 8 bits in words along a row, with scales by group.

X.weight_packed int32 [rows, words], X.weight_scale [rows, groups], X.weight_shape and, where integers are not
symmetric, X.weight_zero_point int32 [words of rows, groups]. As `dequant_packed` in `dequant_model` of llama.cpp's
conversion/base.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ggufactory.checkpoint.checkpoint import SourceTensor
from ggufactory.checkpoint.json_object import clip
from ggufactory.checkpoint.packing.integers import WORD_BITS, unpack_columns, unpack_rows
from ggufactory.checkpoint.packing.number_types import FLOATS, Singles, overflow_ignored, singles
from ggufactory.checkpoint.packing.packed_rows import PackedRows
from ggufactory.checkpoint.packing.stored_matrix import StoredMatrix, as_matrix
from ggufactory.checkpoint.packing.unpacking import INCOMPLETE, Unpacking, check_dtype, check_shape
from ggufactory.checkpoint.rows import Bytes, ReadRange
from ggufactory.errors import InputError

_DECODED_NUMBERS = 1 << 18
"""At a time."""


@dataclass(frozen=True, slots=True)
class PackedIntRows(PackedRows):
    """(integer - zero point) * scale, in single precision."""

    weights: StoredMatrix
    scales: StoredMatrix
    """By row, of its groups."""
    zeros: StoredMatrix | None
    """Its words hold the zero points of 32 // `bits` rows each. None: half of the integers' range."""
    bits: int
    columns: int
    first: int = 0
    """The number of the first row in `zeros`."""

    @property
    def companions(self) -> tuple[StoredMatrix, ...]:
        return (self.scales,) if self.zeros is None else (self.scales, self.zeros)

    @property
    def dtype(self) -> str:
        return "F32"

    @property
    def rows(self) -> int:
        return self.weights.rows

    def part(self, first: int, rows: int) -> PackedIntRows:
        weights, scales = self.weights.part(first, rows), self.scales.part(first, rows)
        return replace(self, weights=weights, scales=scales, first=self.first + first)

    def read_rows(self, start: int, stop: int, out: Bytes, read: ReadRange) -> None:
        weights = self.weights.read(start, stop, read)
        scales = singles(self.scales.read(start, stop, read), self.scales.dtype)
        zeros = self._zeros(start, stop, read)
        groups = self.scales.columns
        numbers = out.view(np.float32).reshape(stop - start, groups, self.columns // groups)
        step = max(_DECODED_NUMBERS // self.columns, 1)
        for at in range(0, stop - start, step):
            some = slice(at, at + step)
            integers = unpack_columns(weights[some], self.bits)[:, : self.columns]
            grouped = integers.reshape(len(integers), groups, -1)
            # Differences are small integers, so that the product alone is rounded.
            grouped -= zeros if isinstance(zeros, np.float32) else zeros[some, :, None]
            with overflow_ignored():
                np.multiply(grouped, scales[some, :, None], out=numbers[some])

    def _zeros(self, start: int, stop: int, read: ReadRange) -> Singles | np.float32:
        if self.zeros is None:
            return np.float32(1 << (self.bits - 1))
        per_word = WORD_BITS // self.bits
        first, end = self.first + start, self.first + stop
        word = first // per_word
        unpacked = unpack_rows(self.zeros.read(word, -(-end // per_word), read), self.bits)
        return unpacked[first - word * per_word : end - word * per_word]


def unpack_packed(unpacking: Unpacking, bits: int, group_size: int | None) -> None:
    """Take every X.weight_packed as X.weight. `group_size` None: a scale for each whole row."""
    for packed, base in unpacking.ending(".weight_packed"):
        with unpacking.noting_faults():
            _unpack(unpacking, packed, base + ".weight", bits, group_size)


def _unpack(unpacking: Unpacking, packed: SourceTensor, name: str, bits: int, group_size: int | None) -> None:
    check_dtype(packed, ("I32",))
    scales = unpacking.take(name + "_scale", packed, FLOATS)
    zeros = unpacking.take_any(name + "_zero_point", packed, ("I32",))
    unpacking.take(name + "_shape", packed, ("I64", "I32"))
    if name + "_g_idx" in unpacking.tensors:
        raise InputError(
            f"tensor {clip(packed.name)} has columns in any order (activation ordering), which is not supported"
        )
    per_word = WORD_BITS // bits
    if len(packed.shape) != 2 or len(scales.shape) != 2 or 0 in packed.shape:
        raise InputError(
            f"tensor {clip(packed.name)} has the shape {list(packed.shape)}, its scales {list(scales.shape)}; "
            "wanted matrices",
            fix=INCOMPLETE,
        )
    rows, words = packed.shape
    groups = scales.shape[1]
    columns = groups * group_size if group_size else words * per_word
    check_shape(packed, (rows, -(-columns // per_word)), f"{groups} scales in a row of {bits}-bit weights")
    check_shape(scales, (rows, groups if group_size else 1), "its weights")
    if zeros is not None:
        check_shape(zeros, (-(-rows // per_word), groups), "its weights")
    source = PackedIntRows(
        weights=as_matrix(packed, words),
        scales=as_matrix(scales, groups),
        zeros=None if zeros is None else as_matrix(zeros, groups),
        bits=bits,
        columns=columns,
    )
    unpacking.put(packed, name, (rows, columns), source)
