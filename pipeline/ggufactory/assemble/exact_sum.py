"""A sum that does not depend on the order of its terms, nor on how often it was written down in between.

Shewchuk's expansions (Adaptive Precision Floating-Point Arithmetic, 1997), as in `math.fsum`, which cannot go on with a
sum that it has begun.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


class ExactSum:
    """Doubles of different size whose exact sum is the sum so far."""

    def __init__(self, terms: Sequence[float] = ()) -> None:
        self.terms = list(terms)

    def add(self, x: float) -> None:
        kept = []
        for y in self.terms:
            if abs(x) < abs(y):
                x, y = y, x
            high = x + y
            if low := y - (high - x):
                kept.append(low)
            x = high
        self.terms = [*kept, x]

    @property
    def value(self) -> float:
        """The double next to the exact sum."""
        return math.fsum(self.terms)
