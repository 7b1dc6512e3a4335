"""Which rung to take: the card's section, with a table where it is known what a context takes."""

from __future__ import annotations

from collections.abc import Sequence

from ggufactory.publish.card_text import plain
from ggufactory.publish.guide import Guide, guide_of
from ggufactory.publish.measured import MeasuredModel

_RULE = (
    "A model answers fast when all of it lies in the memory of the GPU, its context included: take the largest "
    "file that is one or two gigabytes smaller than that memory. Without a GPU, or with a part of the model on "
    "it, the same holds for the memory of the machine. Of two files of similar size, the one further up in the "
    "table is nearer to the original."
)


def choosing_section(models: Sequence[MeasuredModel]) -> str:
    """Empty where there is nothing to choose."""
    if sum(len(model.rungs) for model in models) < 2:
        return ""
    guides = [(model.name, found) for model in models if len(model.rungs) > 1 and (found := guide_of(model))]
    if not guides:
        return f"## Which one to take\n\n{_RULE}"
    parts = ["## Which one to take"]
    for name, found in guides:
        parts += [f"### {plain(name)}"] if len(models) > 1 else []
        parts += [_table(found), plain(found.note)]
    return "\n\n".join(parts)


def _table(found: Guide) -> str:
    lines = ["| GPU memory from | Take | Size | Needs | Why |", "|---:|---|---:|---:|---|"]
    for row in found.rows:
        cells = (f"{row.memory} GB", row.rung, row.size, row.need, row.reason)
        lines.append(f"| {' | '.join(plain(cell) for cell in cells)} |")
    return "\n".join(lines)
