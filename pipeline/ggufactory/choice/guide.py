"""Which rung for which memory, as a table: a row where a larger memory means another rung."""

from __future__ import annotations

from collections.abc import Sequence

from ggufactory.choice.choose import Candidate, Choice, choose
from ggufactory.choice.hyperparameters import Hyperparameters
from ggufactory.choice.need import GIB

MEMORIES = (4, 6, 8, 12, 16, 24, 32, 48, 80)
"""GB, as graphics cards have them."""


def guide(rungs: Sequence[Candidate], model: Hyperparameters, context: int) -> list[tuple[int, Choice]]:
    """The memories, in GB, from which on another rung is suggested, and the choice; empty where none is enough."""
    rows: list[tuple[int, Choice]] = []
    for memory in MEMORIES:
        found = choose(rungs, model, context, vram=memory * GIB)
        if found and (not rows or found.rung != rows[-1][1].rung):
            rows.append((memory, found))
    return rows
