"""Weights of a checkpoint by rows, whatever lies between its bytes and the numbers.

A matrix is read by ranges of rows. How many bytes that takes, from which files, and how they become
numbers is known to what stands behind `SourceRows`: rows that are stored as they are, transposed or packed.
Each is a frozen dataclass of plain values, so that it travels in a span's descriptor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ggufactory_kernels.types import TENSOR_TYPES

Bytes = npt.NDArray[np.uint8]

SLAB_BYTES = 8 << 20
"""What an implementation that needs more than the rows themselves fetches or decodes at a time."""


class ReadRange(Protocol):
    """Reading bytes of the checkpoint; what the stores raise is raised."""

    def __call__(self, file: str, offset: int, buffer: memoryview) -> None: ...


class SourceRows(Protocol):
    """A matrix of a checkpoint, read by rows."""

    @property
    def tensor(self) -> str:
        """Name in the checkpoint, for messages."""

    @property
    def file(self) -> str:
        """Where its weights lie."""

    @property
    def offset(self) -> int:
        """Of the first byte of its weights in `file`."""

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that is read for it."""

    @property
    def dtype(self) -> str:
        """The tensor type of the rows that are given: "F32", "F16", "BF16", or a quantized one."""

    @property
    def rows(self) -> int: ...

    @property
    def columns(self) -> int: ...

    @property
    def unit(self) -> int:
        """Rows of which any takes as much reading as all: readers ask for whole units. 1 where each
        row is read alone."""

    def part(self, first: int, rows: int) -> SourceRows:
        """Rows [first, first + rows) of this."""

    def read_rows(self, start: int, stop: int, out: Bytes, read: ReadRange) -> None:
        """Fill `out` [stop - start, bytes per row of `dtype`] with rows [start, stop).

        InputError for bytes that are no weights; what `read` raises.
        """


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Rows that lie one after the other, in a type that the kernels read."""

    tensor: str
    file: str
    offset: int
    dtype: str
    """"BF16", "F16" or "F32"; of a GGUF file, any tensor type."""
    rows: int
    columns: int

    @property
    def files(self) -> tuple[str, ...]:
        return (self.file,)

    @property
    def unit(self) -> int:
        return 1

    @property
    def row_bytes(self) -> int:
        return TENSOR_TYPES[self.dtype].row_bytes(self.columns)

    def part(self, first: int, rows: int) -> StoredRows:
        assert first >= 0
        assert first + rows <= self.rows
        return replace(self, offset=self.offset + first * self.row_bytes, rows=rows)

    def reshaped(self, columns: int) -> StoredRows:
        """The same numbers in rows of `columns`."""
        rows, rest = divmod(self.rows * self.columns, columns)
        assert not rest
        return replace(self, rows=rows, columns=columns)

    def single_column(self) -> StoredRows:
        """So that vectors can be reordered like the rows of matrices."""
        return self.reshaped(1)

    def run(self, first: int, count: int) -> StoredRows:
        """Numbers [first, first + count) of all, as one row."""
        return self.single_column().part(first, count).reshaped(count)

    def read_rows(self, start: int, stop: int, out: Bytes, read: ReadRange) -> None:
        assert 0 <= start < stop <= self.rows
        read(self.file, self.offset + start * self.row_bytes, out.reshape(-1).data)
