"""Numbers of which a checkpoint stores the inverse."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ggufactory.checkpoint.packing.number_types import overflow_ignored, singles
from ggufactory.checkpoint.packing.packed_rows import PackedRows
from ggufactory.checkpoint.packing.stored_matrix import StoredMatrix
from ggufactory.checkpoint.rows import Bytes, ReadRange


@dataclass(frozen=True, slots=True)
class InverseRows(PackedRows):
    """One divided by each stored number, in single precision; the inverse of nothing is infinite."""

    weights: StoredMatrix

    @property
    def companions(self) -> tuple[StoredMatrix, ...]:
        return ()

    @property
    def dtype(self) -> str:
        return "F32"

    @property
    def rows(self) -> int:
        return self.weights.rows

    @property
    def columns(self) -> int:
        return self.weights.columns

    def part(self, first: int, rows: int) -> InverseRows:
        return replace(self, weights=self.weights.part(first, rows))

    def read_rows(self, start: int, stop: int, out: Bytes, read: ReadRange) -> None:
        stored = singles(self.weights.read(start, stop, read), self.weights.dtype)
        with overflow_ignored():
            np.divide(np.float32(1), stored, out=out.view(np.float32))
