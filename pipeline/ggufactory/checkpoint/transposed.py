"""Matrices that are stored transposed: their rows are columns of what lies in the checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ggufactory.checkpoint.rows import SLAB_BYTES, Bytes, ReadRange, SourceRows
from ggufactory_kernels.types import TENSOR_TYPES


@dataclass(frozen=True, slots=True)
class TransposedRows:
    """A stack of transposed matrices, or of the same run of columns of each.

    Row m * `count` + j is column `first` + j of matrix m of `of`, whose matrices have `columns` rows and
    begin `stride` rows after each other. Any row takes the reading of its whole matrix.
    """

    of: SourceRows
    """Stored as plain numbers."""
    matrices: int
    stride: int
    columns: int
    first: int
    count: int

    def __post_init__(self) -> None:
        assert self.columns <= self.stride
        assert self.first + self.count <= self.of.columns
        assert (self.matrices - 1) * self.stride + self.columns <= self.of.rows

    @property
    def tensor(self) -> str:
        return self.of.tensor

    @property
    def file(self) -> str:
        return self.of.file

    @property
    def offset(self) -> int:
        return self.of.offset

    @property
    def files(self) -> tuple[str, ...]:
        return self.of.files

    @property
    def dtype(self) -> str:
        return self.of.dtype

    @property
    def rows(self) -> int:
        return self.matrices * self.count

    @property
    def unit(self) -> int:
        return self.count

    def part(self, first: int, rows: int) -> TransposedRows:
        """Whole matrices only."""
        matrix, within = divmod(first, self.count)
        matrices, rest = divmod(rows, self.count)
        assert within == rest == 0
        of = self.of.part(matrix * self.stride, (matrices - 1) * self.stride + self.columns)
        return replace(self, of=of, matrices=matrices)

    def read_rows(self, start: int, stop: int, out: Bytes, read: ReadRange) -> None:
        row = start
        while row < stop:
            matrix = row // self.count
            end = min(stop, (matrix + 1) * self.count)
            columns = self.first + row % self.count, self.first + row % self.count + end - row
            self._read_columns(matrix, columns, out[row - start : end - start], read)
            row = end

    def _read_columns(self, matrix: int, columns: tuple[int, int], out: Bytes, read: ReadRange) -> None:
        """Slab by slab: a matrix of experts need not fit into memory beside its own transpose."""
        item = TENSOR_TYPES[self.dtype].row_bytes(1)
        row_bytes = item * self.of.columns
        number = np.dtype(f"<u{item}")
        transposed = out.view(number)
        step = max(SLAB_BYTES // row_bytes, 1)
        slab = np.empty((min(step, self.columns), row_bytes), np.uint8)
        for at in range(0, self.columns, step):
            held = slab[: min(step, self.columns - at)]
            first = matrix * self.stride + at
            self.of.read_rows(first, first + len(held), held, read)
            transposed[:, at : at + len(held)] = held.view(number)[:, columns[0] : columns[1]].T
