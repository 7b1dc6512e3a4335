"""Rows as a checkpoint stores them, with all that is needed to decode them: what is sent to whoever decodes.

What a source stores and how that becomes numbers are two things. Only where the second is some arithmetic on each
weight and its scale, as a GPU does it by tiles, are rows handed over so; all others are read as numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ggufactory.checkpoint.packing.number_types import Array, Singles
from ggufactory.checkpoint.rows import Bytes, ReadRange

Numbers = npt.NDArray[np.int64]
"""Of rows or groups."""

INDEX_BYTES = 8
"""Of a row, in an `order` and the like."""


@dataclass(frozen=True, slots=True)
class ScaledBytes:
    """Weights of one byte: row k of `weights` times row scale_rows[k] of `scales`, in single precision."""

    dtype: str
    """"F8_E4M3", "F8_E5M2" or "I8"."""
    weights: Bytes
    """[rows, columns]."""
    scales: Singles
    """[n, blocks], one for each `block_columns` columns."""
    scale_rows: Numbers
    """[rows]."""
    block_columns: int

    @property
    def rows(self) -> int:
        return len(self.weights)

    @property
    def arrays(self) -> tuple[Array, ...]:
        """What is sent."""
        return (self.weights, self.scales, self.scale_rows)

    def take(self, rows: Numbers) -> ScaledBytes:
        """The rows of these numbers, in that order."""
        return replace(self, weights=self.weights[rows], scale_rows=self.scale_rows[rows])


@dataclass(frozen=True, slots=True)
class ColumnInts:
    """Integers of a few bits, whose rows are columns of what is stored: (integer - zero point) * scale."""

    bits: int
    along_inputs: bool
    zero_offset: int
    """Both as of `IntLayout`."""
    weights: Array
    """int32 [words, rows] or, packed along the outputs, [columns, words]."""
    zeros: Array
    """int32 [groups, words], packed along the outputs."""
    scales: Singles
    """[groups, rows]."""
    groups: Numbers
    """[columns]: the group of each, one of those that there are."""

    @property
    def rows(self) -> int:
        return int(self.scales.shape[1])

    @property
    def arrays(self) -> tuple[Array, ...]:
        """What is sent."""
        return (self.weights, self.zeros, self.scales, self.groups)


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """Rows of `stored`, in its order or in another."""

    stored: ScaledBytes | ColumnInts
    order: Numbers | None = None
    """[rows]: which row of `stored` each is. None: all of them."""

    @property
    def rows(self) -> int:
        return self.stored.rows if self.order is None else len(self.order)

    @property
    def arrays(self) -> tuple[Array, ...]:
        """What is sent: those of `stored`, and `order` after them if there is one."""
        return self.stored.arrays if self.order is None else (*self.stored.arrays, self.order)

    def take(self, rows: Numbers) -> EncodedRows:
        """The rows of these numbers, in that order. Others are let go where each row lies by itself."""
        rows = rows if self.order is None else self.order[rows]
        if isinstance(self.stored, ScaledBytes) and len(rows) < self.stored.rows:
            return EncodedRows(self.stored.take(rows))
        return EncodedRows(self.stored, rows)

    def part(self, start: int, stop: int) -> EncodedRows:
        """Rows [start, stop)."""
        if (start, stop) == (0, self.rows):
            return self
        return self.take(np.arange(start, stop, dtype=np.int64))


@runtime_checkable
class EncodedSource(Protocol):
    """`SourceRows` that can be handed over as they are stored."""

    def encoded_bytes(self, start: int, stop: int, taken: int) -> int:
        """Upper bound of the arrays of `taken` rows of [start, stop), with an order for them."""

    def read_encoded(self, start: int, stop: int, read: ReadRange) -> EncodedRows:
        """Rows [start, stop). The same reads, and the same errors, as of `read_rows`."""
