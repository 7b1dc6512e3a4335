"""How much of a tensor a type loses: the measure, and what is added up for it piece by piece.

The relative error of a tensor is sqrt(sum w (x - y)^2 / sum w x^2): x the weights that llama-quantize is given, y
those that the stored blocks stand for, w the importance of their column, or 1.
"""

from __future__ import annotations

import math
from typing import NamedTuple

_DIGITS = 4


class PieceErrors(NamedTuple):
    """The sums over `rows` rows of one tensor, as one type."""

    tensor: str
    type: str
    weighted: bool
    """Whether importance changed the bytes; the sums are weighted wherever there is importance."""
    rows: int
    error: float
    magnitude: float


def relative_error(error: float, magnitude: float) -> float | None:
    """Of the two sums, to four digits. None where columns that count were all zero and are not stored as such."""
    if not magnitude:
        return None if error else 0.0
    return float(f"{math.sqrt(error / magnitude):.{_DIGITS}g}")
