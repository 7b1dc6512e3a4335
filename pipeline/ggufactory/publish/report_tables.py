"""The tables of `report.html`. Every text that comes from a manifest is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from ggufactory.publish.card_text import size
from ggufactory.publish.guide import guide_of
from ggufactory.publish.measured import MeasuredModel, MeasuredRung, types_of

_WORST = 10
"""Tensors that are shown of a rung."""


@dataclass(frozen=True, slots=True)
class _Figure:
    """A column: the key of the figure, its heading, what the heading means, and how it is written."""

    key: str
    heading: str
    told: str
    form: str


_FIGURES = (
    _Figure("kld_mean", "KLD mean", "mean Kullback-Leibler divergence from the original, in nats", ".6f"),
    _Figure("kld_error", "±", "one standard error of the mean divergence", ".6f"),
    _Figure("kld_median", "KLD median", "half of the positions are below", ".6f"),
    _Figure("kld_99", "KLD 99 %", "99 % of the positions are below", ".5f"),
    _Figure("kld_99_9", "KLD 99.9 %", "99.9 % of the positions are below", ".5f"),
    _Figure("kld_max", "KLD max", "the worst position", ".4f"),
    _Figure("same_top", "Same top", "how often both find the same token the most likely one", ".2%"),
    _Figure("rms_probability_change", "RMS Δp", "change of the probability of the token that came", ".2%"),
    _Figure("perplexity", "Perplexity", "how surprised the file is by the text", ".4f"),
    _Figure("perplexity_error", "±", "one standard error of the perplexity", ".4f"),
)


def quality_table(model: MeasuredModel) -> str:
    """A row for each rung, the largest first, also for those that were not evaluated."""
    columns = [figure for figure in _FIGURES if any(figure.key in (rung.quality or {}) for rung in model.rungs)]
    headings = [
        _heading("Type", ""),
        _heading("Size", "", numeric=True),
        _heading("Bits per weight", "", numeric=True),
        *(_heading(figure.heading, figure.told, numeric=True) for figure in columns),
    ]
    rows = []
    for rung in model.rungs:
        name, file = escape(rung.made.rung), escape(quote(rung.made.first, errors="replace"))
        bits = rung.made.bits_per_weight
        cells = [
            f'<td class="text" data-value="{name}"><a href="./{file}">{name}</a></td>',
            _cell(rung.made.bytes, size(rung.made.bytes)),
            _cell(bits, f"{bits:.2f}"),
            *(_figure_cell(rung.quality or {}, figure) for figure in columns),
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Figures of every file">\n'
        f'<table class="sortable">\n<thead><tr>{"".join(headings)}</tr></thead>\n<tbody>\n'
        + "\n".join(rows)
        + "\n</tbody>\n</table>\n</div>"
    )


def how_measured(model: MeasuredModel) -> str:
    """On what text, and what the figures are; empty where nothing was evaluated."""
    told = list(dict.fromkeys(_how(rung) for rung in model.evaluated))
    if not told:
        return ""
    about = (
        "Figures are defined as llama-perplexity has them: perplexity, and the Kullback-Leibler divergence (KLD) of "
        "the file's predictions from the original's in nats, over the second half of each chunk. 0 is the original. "
        "Activations are rounded to eight bits only where it says so."
    )
    return f'<p class="note">{" ".join(told)} {about}</p>'


def guide_table(model: MeasuredModel) -> str:
    """Which rung for which memory; empty where the manifest does not tell what a context takes."""
    found = guide_of(model)
    if found is None:
        return ""
    rows = [
        f'<tr><td>{row.memory} GB</td><td class="text">{escape(row.rung)}</td><td>{escape(row.size)}</td>'
        f'<td>{escape(row.need)}</td><td class="text wrap">{escape(row.reason)}</td></tr>'
        for row in found.rows
    ]
    headings = '<th>GPU memory from</th><th class="text">Take</th><th>Size</th><th>Needs</th><th class="text">Why</th>'
    return (
        f'<h3>Which one to take</h3>\n<div class="scroll"><table>\n<thead><tr>{headings}</tr></thead>\n<tbody>\n'
        + "\n".join(rows)
        + f'\n</tbody>\n</table></div>\n<p class="note">{escape(found.note)}</p>'
    )


def worst_tensors(model: MeasuredModel) -> str:
    """Of each rung that has errors, the tensors with the largest."""
    parts = [_worst(rung) for rung in model.with_errors]
    return "<h3>Worst tensors</h3>\n" + "\n".join(parts) if parts else ""


def _worst(rung: MeasuredRung) -> str:
    types = types_of(rung.made)
    worst = sorted(rung.errors.items(), key=lambda item: (-item[1], item[0]))[:_WORST]
    rows = [
        f'<tr><td class="text"><code>{escape(name)}</code></td><td class="text">{escape(types.get(name, ""))}</td>'
        f"<td>{error:.4%}</td></tr>"
        for name, error in worst
    ]
    return (
        f"<details><summary>{escape(rung.made.rung)}: up to {worst[0][1]:.2%}</summary>\n"
        '<div class="scroll"><table><thead><tr><th>Tensor</th><th class="text">Type</th><th>Relative error</th></tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div></details>"
    )


def _how(rung: MeasuredRung) -> str:
    texts = rung.how.get("texts")
    named = [str(text.get("name")) for text in texts if isinstance(text, dict)] if isinstance(texts, list) else []
    on = f" on {', '.join(f'<code>{escape(name)}</code>' for name in named)}" if named else ""
    chunks, context = escape(str(rung.how.get("chunks"))), escape(str(rung.how.get("context")))
    assert rung.quality is not None
    reference = f"{rung.quality['reference_perplexity']:.4f}"
    how = escape(rung.arithmetic)
    return f"Measured{on}, {chunks} chunks of {context} tokens{how}; the original's perplexity is {reference}."


def _heading(text: str, told: str, *, numeric: bool = False) -> str:
    kind = "number" if numeric else "text"
    title = f' title="{escape(told)}"' if told else ""
    return f'<th scope="col" class="{kind}"><button type="button"{title}>{text}</button></th>'


def _figure_cell(quality: Mapping[str, float], figure: _Figure) -> str:
    found = quality.get(figure.key)
    return '<td data-value="">–</td>' if found is None else _cell(found, format(found, figure.form))


def _cell(value: float, shown: str) -> str:
    return f'<td data-value="{value!r}">{escape(shown)}</td>'
