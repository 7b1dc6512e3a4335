"""The rows of a span's pieces, ready to be made any tensor type and measured: on the CPU, where they were read to.

`device_rows.py` does the same on a GPU.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

import ggufactory_kernels as gk
from ggufactory.checkpoint.rows import Bytes
from ggufactory.cluster.descriptor import PieceWork
from ggufactory.cluster.piece_errors import ErrorMeter, Packing
from ggufactory.cluster.row_conversion import convert_rows
from ggufactory.cluster.span_reader import HeldTile, SpanReader
from ggufactory.cluster.stage_clock import StageClock
from ggufactory.errors import DamagedSourceError

Importance = npt.NDArray[np.float32]


class PieceRows(Protocol):
    """Whoever makes them."""

    def make(self, packing: Packing, out: Bytes | None) -> float:
        """The packing's piece as its type in `out` [rows, bytes per row], once its rows are there, and measured; None:
        measured alone.

        Returns the seconds of quantizing. DamagedSourceError for weights that cannot be that type; what reading
        raised; MemoryError where a GPU is full.
        """


class HostRows:
    """Made by the CPU, as far as they have been read.

    `importance`: by tensor name, float32 [matrices, columns]. It weighs the errors of every type alike, whether
    the type's search uses it or not.
    """

    def __init__(
        self,
        pieces: Sequence[PieceWork],
        reader: SpanReader,
        importance: Mapping[str, Importance],
        meter: ErrorMeter,
        clock: StageClock,
        *,
        threads: int = 1,
    ) -> None:
        self._pieces = pieces
        self._reader = reader
        self._importance = importance
        self._meter = meter
        self._clock = clock
        self._threads = threads

    def make(self, packing: Packing, out: Bytes | None) -> float:
        """As PieceRows says. The held type goes through the kernel too: it copies, and refuses what is not finite."""
        piece = self._pieces[packing.piece]
        row_bytes = gk.TENSOR_TYPES[packing.kind].row_bytes(piece.columns)
        spent = 0.0
        for tile in self._reader.tiles(packing.piece):
            made = (
                np.empty((tile.stop - tile.start, row_bytes), np.uint8) if out is None else out[tile.start : tile.stop]
            )
            began = time.monotonic()
            for start, stop in matrix_runs(piece, tile.start, tile.stop):
                self._convert(packing, tile, start, stop, made[start - tile.start : stop - tile.start])
            spent += time.monotonic() - began
            if packing.kind != piece.converted_type:
                self._measure(packing, tile, made)
        self._clock.add("quantize", spent)
        return spent

    def _convert(self, packing: Packing, tile: HeldTile, start: int, stop: int, out: Bytes) -> None:
        """Rows [start, stop) of the tile, all of one matrix."""
        piece = self._pieces[packing.piece]
        importance = self._importance_of(piece, start) if packing.weighted else None
        held = tile.part(start, stop).rows
        try:
            convert_rows(
                held, piece.converted_type, packing.kind, piece.columns, out, importance, threads=self._threads
            )
        except ValueError as error:
            raise refusal(piece, start, stop, packing.kind, error) from error

    def _measure(self, packing: Packing, tile: HeldTile, made: Bytes) -> None:
        piece = self._pieces[packing.piece]
        with self._clock.inside("measure"):
            for start, stop in matrix_runs(piece, tile.start, tile.stop):
                sums = gk.square_errors(
                    tile.part(start, stop).rows,
                    piece.converted_type,
                    made[start - tile.start : stop - tile.start],
                    packing.kind,
                    piece.columns,
                    self._importance_of(piece, start),
                    self._threads,
                )
                self._meter.add(packing, sums)

    def _importance_of(self, piece: PieceWork, row: int) -> Importance | None:
        found = self._importance.get(piece.tensor)
        return None if found is None else found[matrix_of(piece, row)]


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
