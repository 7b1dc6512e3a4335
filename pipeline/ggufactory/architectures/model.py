"""What a checkpoint means: the metadata and the output tensors that llama.cpp's converter would make of it,
or that a GGUF file already holds.

Shapes are NumPy's: rows first, columns (the contiguous axis, ggml's ne[0]) last. A matrix of experts
is three-dimensional; rows are counted through all of its matrices.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ggufactory.checkpoint.rows import SourceRows
from ggufactory.container.metadata import KeyValue


class RowMap(Protocol):
    """A reordering of an output tensor's rows, computable for any range of them.

    A frozen dataclass of plain numbers, so that it travels in a span's descriptor.
    """

    def source_rows(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        """For output rows [start, stop): the rows of the (stacked) sources whose concatenation they are.

        One for each output row, except where the sources have fewer columns than the output: the one
        row of a reordered bias is the concatenation of all rows of a source with one column.
        """


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """One tensor of the GGUF file: its sources, stacked by rows, reordered by `row_map`, changed by `value_map`."""

    name: str
    shape: tuple[int, ...]
    converted_type: str
    """Its type in the file that llama-quantize starts from: the converter's BF16 file ("BF16" or "F32"),
    or the GGUF file that is the source (any tensor type)."""
    sources: tuple[SourceRows, ...] = ()
    row_map: RowMap | None = None
    value_map: str | None = None
    """What is done to each number in single precision: a name in `VALUE_MAPS`."""
    values: bytes | None = None
    """Instead of sources: little-endian data of `converted_type`, computed from the configuration."""

    @property
    def columns(self) -> int:
        return self.shape[-1]

    @property
    def rows(self) -> int:
        return prod(self.shape[:-1])

    @property
    def rows_per_matrix(self) -> int:
        """Rows that share one slice of the importance matrix (an expert's)."""
        return self.shape[-2] if len(self.shape) >= 2 else 1


@dataclass(frozen=True, slots=True)
class Model:
    """A described checkpoint: `metadata` as in the file that llama-quantize starts from, in its order."""

    architecture: str
    """GGUF's name of it, such as "llama"."""
    metadata: tuple[KeyValue, ...]
    tensors: tuple[OutputTensor, ...]
    """In no particular order: the plan sorts them as llama-quantize does."""
