"""Weights of one byte that are multiplied by scales: FP8 and int8, by tensor, row or block.

As `dequant_simple` in `ModelBase.dequant_model` of llama.cpp's conversion/base.py: each weight and its scale in
single precision, multiplied once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ggufactory.checkpoint.packing.encoded_rows import INDEX_BYTES, EncodedRows, ScaledBytes
from ggufactory.checkpoint.packing.number_types import BYTE_VALUES, Singles, overflow_ignored, singles
from ggufactory.checkpoint.packing.packed_rows import PackedRows
from ggufactory.checkpoint.packing.stored_matrix import StoredMatrix
from ggufactory.checkpoint.rows import SLAB_BYTES, Bytes, ReadRange

_CACHED_NUMBERS = 1 << 16
"""Decoded and scaled together: what stays in a core's cache between the two."""


@dataclass(frozen=True, slots=True)
class ScaleGrid:
    """Which scale belongs to which weight: a stack of matrices of `matrix_rows` rows, each cut into blocks of
    `block_rows` rows and `block_columns` columns, the last ones smaller."""

    scales: StoredMatrix
    """Its rows are rows of blocks, those of a matrix after those of the one before."""
    matrix_rows: int
    block_rows: int
    block_columns: int

    def rows_of(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        """The row of scales for each row of weights in [start, stop); never falling."""
        rows = np.arange(start, stop, dtype=np.int64)
        rows_of_blocks = -(-self.matrix_rows // self.block_rows)
        return rows // self.matrix_rows * rows_of_blocks + rows % self.matrix_rows // self.block_rows


@dataclass(frozen=True, slots=True)
class ScaledRows(PackedRows):
    """Rows of weights of one byte in single precision."""

    weights: StoredMatrix
    grid: ScaleGrid
    first: int = 0
    """The number of the first row in `grid`."""

    @property
    def companions(self) -> tuple[StoredMatrix, ...]:
        return (self.grid.scales,)

    @property
    def dtype(self) -> str:
        return "F32"

    @property
    def rows(self) -> int:
        return self.weights.rows

    @property
    def columns(self) -> int:
        return self.weights.columns

    def part(self, first: int, rows: int) -> ScaledRows:
        return replace(self, weights=self.weights.part(first, rows), first=self.first + first)

    def read_rows(self, start: int, stop: int, out: Bytes, read: ReadRange) -> None:
        numbers = out.view(np.float32)
        slab = max(SLAB_BYTES // self.columns, 1)
        for at in range(start, stop, slab):
            end = min(at + slab, stop)
            stored = self._read(at, end, read)
            self._decode(stored.weights, stored.scales, stored.scale_rows, numbers[at - start : end - start])

    def encoded_bytes(self, start: int, stop: int, taken: int) -> int:
        scale_rows = self.grid.rows_of(self.first + start, self.first + stop)[[0, -1]]
        scales = (int(scale_rows[1] - scale_rows[0]) + 1) * self.grid.scales.columns
        return taken * (self.columns + 2 * INDEX_BYTES) + 4 * scales

    def read_encoded(self, start: int, stop: int, read: ReadRange) -> EncodedRows:
        return EncodedRows(self._read(start, stop, read))

    def _read(self, start: int, stop: int, read: ReadRange) -> ScaledBytes:
        weights = self.weights.read(start, stop, read).view(np.uint8)
        scale_rows = self.grid.rows_of(self.first + start, self.first + stop)
        first, last = int(scale_rows[0]), int(scale_rows[-1])
        scales = singles(self.grid.scales.read(first, last + 1, read), self.grid.scales.dtype)
        return ScaledBytes(self.weights.dtype, weights, scales, scale_rows - first, self.grid.block_columns)

    def _decode(self, weights: Bytes, scales: Singles, scale_rows: npt.NDArray[np.int64], out: Singles) -> None:
        values, by_row = BYTE_VALUES[self.weights.dtype], scales.shape[1] == 1
        most = max(_CACHED_NUMBERS // self.columns, 1)
        at = 0
        while at < len(weights):
            end = min(at + most, len(weights))
            if by_row:
                factors = scales[scale_rows[at:end]]
            else:
                end = min(end, int(np.searchsorted(scale_rows, scale_rows[at], side="right")))
                factors = np.repeat(scales[scale_rows[at]], self.grid.block_columns)[: self.columns]
            # Indices are bytes, so none can be wrong: "clip" spares the check, and with it a copy.
            np.take(values, weights[at:end], out=out[at:end], mode="clip")
            with overflow_ignored():
                out[at:end] *= factors
            at = end
