"""Which rung for which memory, in words, for the card and for the report."""

from __future__ import annotations

from dataclasses import dataclass

from ggufactory.choice.choose import Candidate, Choice
from ggufactory.choice.guide import guide
from ggufactory.choice.need import GIB, KEPT_FREE, usual_context
from ggufactory.publish.card_text import size
from ggufactory.publish.measured import MeasuredModel

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class GuideRow:
    """`memory`: GB, of 2**30 bytes, from which on the rung is suggested."""

    memory: int
    rung: str
    size: str
    need: str
    reason: str


@dataclass(frozen=True, slots=True)
class Guide:
    rows: tuple[GuideRow, ...]
    note: str
    """What was counted."""


def guide_of(model: MeasuredModel) -> Guide | None:
    """None where the manifest does not say what a context takes, and where no memory of `MEMORIES` is enough."""
    hyperparameters = model.hyperparameters
    if hyperparameters is None:
        return None
    context = usual_context(hyperparameters)
    found = guide(model.candidates(), hyperparameters, context)
    if not found:
        return None
    rows = [
        GuideRow(memory, choice.rung.name, size(choice.rung.bytes), in_gib(choice.need.total), reason_of(choice))
        for memory, choice in found
    ]
    note = (
        f"For a GPU that holds the whole model, with a context of {context:,} tokens: the file, keys and values of the "
        f"context in 16 bits, and buffers to compute in; {in_gib(KEPT_FREE)} more stays free. Of the files that fit, "
        "the one nearest to the original by measurement, or a smaller one that is as near within its error; where "
        "nothing was measured, the one with the most bits per weight. For other contexts and memories: "
        "ggufactory choose."
    )
    return Guide(tuple(rows), note)


def reason_of(choice: Choice) -> str:
    """Why this one, as half a sentence."""
    of = "the only one that fits" if choice.fitting == 1 else f"of the {choice.fitting} that fit"
    if not choice.measured:
        return of if choice.fitting == 1 else f"the most bits per weight {of}; nothing was measured"
    divergence = f"divergence {_shown(choice.rung)}"
    if choice.fitting == 1:
        return f"{of}; {divergence}"
    if choice.larger is not None:
        return f"as near as {choice.larger.name} within the error, and smaller; {divergence}"
    return f"the least divergence {of}: {_shown(choice.rung)}"


def in_gib(count: int) -> str:
    """Of memory, which is sold in powers of 1024; of a tenth of a GiB, nothing but MiB says enough."""
    return f"{count / GIB:.1f} GiB" if count >= GIB // 10 else f"{count / _MIB:.0f} MiB"


def _shown(rung: Candidate) -> str:
    return f"{rung.divergence:.6f} ± {rung.error:.6f}"
