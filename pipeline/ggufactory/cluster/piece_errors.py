"""What each piece of a span loses as each type, measured while the packed rows are at hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

import ggufactory_kernels as gk
from ggufactory.checkpoint.rows import Bytes
from ggufactory.cluster.descriptor import PieceWork
from ggufactory.cluster.stage_clock import StageClock
from ggufactory.plan.tensor_errors import PieceErrors

Packing = tuple[int, str, bool]
"""A piece by its number, as a type, with or without importance in what was searched."""


@dataclass
class _Sums:
    """Of the tiles so far."""

    rows: int = 0
    errors: list[float] = field(default_factory=list)
    magnitudes: list[float] = field(default_factory=list)


class ErrorMeter:
    """`importance`: by tensor name, float32 [matrices, columns]; it weighs the errors of every type alike."""

    def __init__(
        self,
        pieces: tuple[PieceWork, ...],
        importance: Mapping[str, npt.NDArray[np.float32]],
        clock: StageClock,
        threads: int,
    ) -> None:
        self._pieces = pieces
        self._importance = importance
        self._clock = clock
        self._threads = threads
        self._sums: dict[Packing, _Sums] = {}

    def has(self, packing: Packing) -> bool:
        return packing in self._sums

    def add(self, packing: Packing, start: int, held: Bytes, packed: Bytes, device: str) -> None:
        """Rows of a piece from `start` on: `held` in the converted type and `packed` as the other, both
        [rows, bytes per row]. Rows that were copied lose nothing, and are not measured."""
        piece, kind = self._pieces[packing[0]], packing[1]
        if kind == piece.converted_type:
            return
        with self._clock.inside("measure"):
            sums = self._sums.setdefault(packing, _Sums())
            row = 0
            while row < len(held):
                matrix, within = divmod(piece.start + start + row, piece.rows_per_matrix)
                stop = min(len(held), row + piece.rows_per_matrix - within)
                found = gk.square_errors(
                    held[row:stop],
                    piece.converted_type,
                    packed[row:stop],
                    kind,
                    piece.columns,
                    self._importance[piece.tensor][matrix] if piece.tensor in self._importance else None,
                    self._threads,
                    device,
                )
                # The exact sum of the rows, rounded once; where tiles end, the plan has decided.
                sums.errors.append(math.fsum(found[:, 0].tolist()))
                sums.magnitudes.append(math.fsum(found[:, 1].tolist()))
                row = stop
            sums.rows += len(held)

    def report(self) -> tuple[PieceErrors, ...]:
        """Of every packing that was measured."""
        return tuple(
            PieceErrors(
                self._pieces[number].tensor,
                kind,
                weighted,
                sums.rows,
                math.fsum(sums.errors),
                math.fsum(sums.magnitudes),
            )
            for (number, kind, weighted), sums in self._sums.items()
        )
