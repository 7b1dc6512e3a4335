"""The layout: where the output is cut into spans.

A span is a contiguous run of the output, and the same run on every rung: part n of every file. Cuts
fall on row borders, on tensor borders where that costs little. The target store's part limits are
an input, so the layout is the same whoever computes it, and independent of how many workers run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ggufactory.storage.protocol import PartLimits

_MIB = 1 << 20
_SMALLEST_SPAN, _LARGEST_SPAN = 1 * _MIB, 64 * _MIB
_SPANS_WISHED = 64
"""A small model is still cut into about this many, so that it spreads over workers."""


@dataclass(frozen=True, slots=True)
class RowCosts:
    """One tensor as the layout sees it: rows, and the bytes of one row wherever it goes."""

    rows: int
    source_row: int
    """In the converter's file, which is what a worker holds in memory."""
    rung_rows: tuple[int, ...]
    """On each rung."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows [start, stop) of the plan's tensor number `tensor`."""

    tensor: int
    start: int
    stop: int


def cut(
    tensors: Sequence[RowCosts], limits: PartLimits, *, span_bytes: int | None = None, borders: Sequence[int] = ()
) -> list[tuple[Piece, ...]]:
    """The spans, in file order: every row of every tensor in exactly one piece.

    `span_bytes` is the wished size in source bytes (None: by the model's size); at `borders` are the
    tensors that begin a file of their own. Every span but the last of a file reaches
    `limits.min_part_bytes` on every rung, and there are at most `limits.max_parts` of a file.
    """
    total = sum(t.rows * t.source_row for t in tensors)
    wished = span_bytes or min(max(total // _SPANS_WISHED, _SMALLEST_SPAN), _LARGEST_SPAN)
    # A cut at a tensor border may come at half the wished size, so aim for less than half the limit.
    wished = max(wished, total * 5 // (2 * limits.max_parts))
    spans = _Cutter(limits.min_part_bytes, wished).cut(tensors, frozenset(borders))
    assert len(spans) <= limits.max_parts + len(borders)
    return spans


class _Cutter:
    def __init__(self, min_part: int, wished: int) -> None:
        self.min_part = min_part
        self.wished = wished
        self.spans: list[tuple[Piece, ...]] = []
        self.pieces: list[Piece] = []
        self.source = 0
        self.rungs: list[int] = []

    def cut(self, tensors: Sequence[RowCosts], borders: frozenset[int]) -> list[tuple[Piece, ...]]:
        self.rungs = [0] * (len(tensors[0].rung_rows) if tensors else 0)
        for index, tensor in enumerate(tensors):
            if index in borders and self.pieces:
                self._close()
            self._place(index, tensor)
        if self.pieces:
            self._close()
        return self.spans

    def _place(self, index: int, tensor: RowCosts) -> None:
        row = 0
        while row < tensor.rows:
            left = (tensor.rows - row) * tensor.source_row
            if self.source + left <= self.wished * 5 // 4:
                take = tensor.rows - row
            elif row == 0 and self._closable() and 2 * self.source >= self.wished:
                self._close()
                continue
            else:
                take = self._rows_to_take(tensor, row)
            self._take(index, tensor, row, row + take)
            row += take
            if self._closable() and 4 * self.source >= 3 * self.wished:
                self._close()

    def _rows_to_take(self, tensor: RowCosts, row: int) -> int:
        """An even share of what is left of a tensor too large for one span."""
        left = tensor.rows - row
        room = max(self.wished - self.source, 1)
        shares = max(round(left * tensor.source_row / room), 1) if self.source == 0 else 1
        take = -(-left // shares) if self.source == 0 else max(room // tensor.source_row, 1)
        # Where the smallest rung would stay under the store's minimum, the span has to grow.
        for part, row_bytes in zip(self.rungs, tensor.rung_rows, strict=True):
            take = max(take, -(-(self.min_part - part) // row_bytes))
        return min(take, left)

    def _take(self, index: int, tensor: RowCosts, start: int, stop: int) -> None:
        self.pieces.append(Piece(index, start, stop))
        self.source += (stop - start) * tensor.source_row
        self.rungs = [a + (stop - start) * b for a, b in zip(self.rungs, tensor.rung_rows, strict=True)]

    def _closable(self) -> bool:
        return bool(self.pieces) and all(part >= self.min_part for part in self.rungs)

    def _close(self) -> None:
        self.spans.append(tuple(self.pieces))
        self.pieces = []
        self.source = 0
        self.rungs = [0] * len(self.rungs)
