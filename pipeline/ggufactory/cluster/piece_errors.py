"""What each piece of a span loses as each type, added up while the packed rows are at hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ggufactory.cluster.descriptor import PieceWork
from ggufactory.plan.tensor_errors import PieceErrors


class Packing(NamedTuple):
    """What is packed and measured once: a piece by its number, as a type, with or without importance in the search."""

    piece: int
    kind: str
    weighted: bool


@dataclass
class _Sums:
    """Of the rows so far."""

    rows: int = 0
    errors: list[float] = field(default_factory=list)
    magnitudes: list[float] = field(default_factory=list)


class ErrorMeter:
    """Of the pieces of one span."""

    def __init__(self, pieces: Sequence[PieceWork]) -> None:
        self._pieces = pieces
        self._sums: dict[Packing, _Sums] = {}

    def has(self, packing: Packing) -> bool:
        return packing in self._sums

    def add(self, packing: Packing, sums: npt.NDArray[np.float64]) -> None:
        """What `gk.square_errors` says of some rows: float64 [rows, 2]."""
        found = self._sums.setdefault(packing, _Sums())
        # The exact sum of the rows, rounded once; where it is cut, the plan has decided.
        found.errors.append(math.fsum(sums[:, 0].tolist()))
        found.magnitudes.append(math.fsum(sums[:, 1].tolist()))
        found.rows += len(sums)

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
