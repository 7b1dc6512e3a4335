"""The rows of a span's pieces, ready to be made any tensor type: on the CPU, where they were read to.

`device_rows.py` does the same on a GPU.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ggufactory.checkpoint.rows import Bytes
from ggufactory.cluster.descriptor import PieceWork
from ggufactory.cluster.row_conversion import convert_rows
from ggufactory.cluster.span_reader import SpanReader
from ggufactory.cluster.stage_clock import StageClock
from ggufactory.errors import DamagedSourceError

Importance = npt.NDArray[np.float32]


class PieceRows(Protocol):
    """Whoever makes them."""

    def make(self, number: int, kind: str, importance: Importance | None, out: Bytes) -> float:
        """Piece `number` as the tensor type `kind` in `out` [rows, bytes per row], once its rows are there.

        `importance`: float32 [matrices of the tensor, columns]. Returns the seconds of quantizing.
        DamagedSourceError for weights that cannot be that type; what reading raised; MemoryError where a GPU
        is full.
        """


class HostRows:
    """Made by the CPU, as far as they have been read."""

    def __init__(self, pieces: Sequence[PieceWork], reader: SpanReader, clock: StageClock, *, threads: int = 1) -> None:
        self._pieces = pieces
        self._reader = reader
        self._clock = clock
        self._threads = threads

    def make(self, number: int, kind: str, importance: Importance | None, out: Bytes) -> float:
        """As PieceRows says. The held type goes through the kernel too: it copies, and refuses what is not finite."""
        piece, held = self._pieces[number], self._reader.held[number]
        spent = 0.0
        for tile in self._reader.tiles(number):
            began = time.monotonic()
            for start, stop in matrix_runs(piece, tile.start, tile.stop):
                weights = importance[matrix_of(piece, start)] if importance is not None else None
                try:
                    convert_rows(
                        held[start:stop],
                        piece.converted_type,
                        kind,
                        piece.columns,
                        out[start:stop],
                        importance=weights,
                        threads=self._threads,
                    )
                except ValueError as error:
                    raise refusal(piece, start, stop, kind, error) from error
            spent += time.monotonic() - began
        self._clock.add("quantize", spent)
        return spent


def matrix_of(piece: PieceWork, row: int) -> int:
    """Of a stack, the number of the matrix that the piece's row lies in."""
    return (piece.start + row) // piece.rows_per_matrix


def matrix_runs(piece: PieceWork, start: int, stop: int) -> list[tuple[int, int]]:
    """Rows [start, stop) of the piece, cut where a matrix of a stack ends: each has importance of its own."""
    runs = []
    while start < stop:
        end = min(stop, (matrix_of(piece, start) + 1) * piece.rows_per_matrix - piece.start)
        runs.append((start, end))
        start = end
    return runs


def refusal(piece: PieceWork, start: int, stop: int, kind: str, error: ValueError) -> DamagedSourceError:
    """What a kernel said of rows [start, stop) of a piece, and where that is."""
    where = f"tensor {piece.tensor}, rows {piece.start + start} to {piece.start + stop}"
    return DamagedSourceError(f"{where}: cannot be made {kind}: {error}")
