"""The reorderings of rows that conversions need, each computable for any range of output rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RopePermutation:
    """Query and key rows from Hugging Face's order (halves of a head) to ggml's (pairs).

    Within a head of `head_rows` rows, output rows 2j and 2j + 1 are source rows j and j + head_rows/2.
    Source: `LlamaModel.permute` of llama.cpp's converter.
    """

    head_rows: int
    """Even."""
    pieces: int = 1
    """Source rows in one output row: 1 for a matrix; for a bias, whose source has one column, all of them."""

    def source_rows(self, start: int, stop: int) -> Rows:
        out = np.arange(start * self.pieces, stop * self.pieces, dtype=np.int64)
        within = out % self.head_rows
        return out - within + within % 2 * (self.head_rows // 2) + within // 2


@dataclass(frozen=True, slots=True)
class EveryNth:
    """Output row i is source row `step` * i + `first`."""

    step: int
    first: int
    pieces: int = 1
    """As of `RopePermutation`."""

    def source_rows(self, start: int, stop: int) -> Rows:
        return np.arange(start * self.pieces, stop * self.pieces, dtype=np.int64) * self.step + self.first
