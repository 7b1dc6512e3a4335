"""How far each rung is from the model, as `ggufactory evaluate` found it: the card's table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ggufactory.publish.card_text import code, plain, size
from ggufactory.publish.rungs import MadeRung

_FIGURES = ("perplexity", "perplexity_error", "kld_mean", "kld_99", "same_top", "reference_perplexity")


def quality_section(rungs: Sequence[MadeRung]) -> str:
    """Empty where nothing was measured."""
    measured = [(rung, found) for rung in rungs if (found := _figures(rung))]
    if not measured:
        return ""
    lines = [
        "| Type | Size | KLD mean | KLD 99 % | Same top token | Perplexity |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for rung, found in measured:
        cells = (
            plain(rung.rung),
            size(rung.bytes).replace(" ", "&nbsp;"),
            f"{found['kld_mean']:.5f}",
            f"{found['kld_99']:.4f}",
            f"{found['same_top']:.1%}".replace("%", "&nbsp;%"),
            f"{found['perplexity']:.4f}&nbsp;±&nbsp;{found['perplexity_error']:.4f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    told = sorted({_how(found) for _, found in measured})
    about = (
        "KLD is the Kullback-Leibler divergence of a file's predictions from the original model's, in nats: 0 is the "
        "original. Same top token: how often both find the same token the most likely one."
    )
    return "## How near to the original\n\n" + "\n".join(lines) + f"\n\n{about} {' '.join(told)}"


def _figures(rung: MadeRung) -> Mapping[str, Any] | None:
    """Where they can be meant: manifests are read from anywhere."""
    found = rung.files[0].get("quality")
    if not isinstance(found, dict):
        return None
    numbers = all(isinstance(found.get(name), int | float) and math.isfinite(found[name]) for name in _FIGURES)
    return found if numbers else None


def _how(found: Mapping[str, Any]) -> str:
    texts = found.get("texts")
    named = [str(text.get("name")) for text in texts if isinstance(text, dict)] if isinstance(texts, list) else []
    on = f" on {', '.join(code(name) for name in named)}" if named else ""
    return (
        f"Measured{on}, {found.get('chunks')} chunks of {found.get('context')} tokens; "
        f"the original's perplexity is {found['reference_perplexity']:.4f}."
    )
