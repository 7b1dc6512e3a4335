"""How near each rung is to the model, as `ggufactory evaluate` and the job itself found it: the card's section."""

from __future__ import annotations

from collections.abc import Sequence

from ggufactory.publish.card_text import code, link, picture, plain, size
from ggufactory.publish.measured import MeasuredModel, MeasuredRung
from ggufactory.publish.pictures import pictures_of
from ggufactory.publish.report import REPORT


def quality_section(models: Sequence[MeasuredModel]) -> str:
    """Empty where nothing was measured."""
    measured = [rung for model in models for rung in model.evaluated]
    pictures = [found for model in models for found in pictures_of(model)]
    if not any(model.has_figures for model in models):
        return ""
    parts = [_table(measured)] if measured else []
    parts += [picture(found.files[-1], found.alt) for found in pictures]
    more = (
        f"{link(REPORT)} has all figures in tables that can be sorted, the pictures and the worst tensors of each file."
    )
    return "\n\n".join(["## How near to the original", *parts, f"{more} {_ERRORS}" if _has_errors(models) else more])


_ERRORS = (
    "The error of a tensor is the root of its weighted squared differences over that of its weighted squares, with the "
    "importance matrix's weights where one was used."
)


def _has_errors(models: Sequence[MeasuredModel]) -> bool:
    return any(model.with_errors for model in models)


def _table(measured: Sequence[MeasuredRung]) -> str:
    lines = [
        "| Type | Size | KLD mean | KLD 99 % | Same top token | Perplexity |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for rung in measured:
        found = rung.quality
        assert found is not None
        cells = (
            plain(rung.made.rung),
            size(rung.made.bytes).replace(" ", "&nbsp;"),
            f"{found['kld_mean']:.5f}",
            f"{found['kld_99']:.4f}",
            f"{found['same_top']:.1%}".replace("%", "&nbsp;%"),
            f"{found['perplexity']:.4f}&nbsp;±&nbsp;{found['perplexity_error']:.4f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    told = sorted({_how(rung, found["reference_perplexity"]) for rung in measured if (found := rung.quality)})
    about = (
        "KLD is the Kullback-Leibler divergence of a file's predictions from the original model's, in nats: 0 is the "
        "original. Same top token: how often both find the same token the most likely one."
    )
    return "\n".join(lines) + f"\n\n{about} {' '.join(told)}"


def _how(rung: MeasuredRung, reference: float) -> str:
    how = rung.how
    texts = how.get("texts")
    named = [str(text.get("name")) for text in texts if isinstance(text, dict)] if isinstance(texts, list) else []
    on = f" on {', '.join(code(name) for name in named)}" if named else ""
    return (
        f"Measured{on}, {how.get('chunks')} chunks of {how.get('context')} tokens{rung.arithmetic}; "
        f"the original's perplexity is {reference:.4f}."
    )
