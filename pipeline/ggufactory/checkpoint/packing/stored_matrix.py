"""A tensor of any dtype as a matrix that is read by rows: what packed weights and their scales lie in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from ggufactory.checkpoint.checkpoint import SourceTensor
from ggufactory.checkpoint.packing.number_types import NUMPY_TYPES, Array
from ggufactory.checkpoint.rows import ReadRange


@dataclass(frozen=True, slots=True)
class StoredMatrix:
    """Rows of plain numbers, one after the other."""

    tensor: str
    file: str
    offset: int
    dtype: str
    """A key of `NUMPY_TYPES`."""
    rows: int
    columns: int

    @property
    def row_bytes(self) -> int:
        return NUMPY_TYPES[self.dtype].itemsize * self.columns

    def part(self, first: int, rows: int) -> StoredMatrix:
        assert first >= 0
        assert first + rows <= self.rows
        return replace(self, offset=self.offset + first * self.row_bytes, rows=rows)

    def read(self, start: int, stop: int, read: ReadRange) -> Array:
        """Rows [start, stop) as [stop - start, columns]. Errors of `read`."""
        assert 0 <= start < stop <= self.rows
        raw = np.empty((stop - start, self.row_bytes), np.uint8)
        read(self.file, self.offset + start * self.row_bytes, raw.reshape(-1).data)
        numbers: Array = raw.view(NUMPY_TYPES[self.dtype])
        return numbers


def as_matrix(tensor: SourceTensor, columns: int) -> StoredMatrix:
    """All numbers of `tensor`, `columns` in a row."""
    return StoredMatrix(tensor.name, tensor.file, tensor.offset, tensor.dtype, prod(tensor.shape) // columns, columns)
