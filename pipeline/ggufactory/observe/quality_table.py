"""The quality of a ladder as a table: a row for each rung, the largest first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console

from ggufactory.job.evaluation_job import Evaluated
from ggufactory.observe.numbers import counted, show_bytes
from ggufactory.observe.tables import fitting, plain_table

if TYPE_CHECKING:  # it computes with torch
    from ggufactory.evaluate.divergence import Quality

_FIGURES: dict[str, Callable[[Quality], str]] = {
    "perplexity>": lambda of: f"{of.perplexity:.4f} ± {of.perplexity_error:.4f}",
    "KLD mean>": lambda of: f"{of.kld_mean:.6f}",
    "median>": lambda of: f"{of.kld_median:.6f}",
    "99 %>": lambda of: f"{of.kld_99:.5f}",
    "99.9 %>": lambda of: f"{of.kld_99_9:.5f}",
    "same top>": lambda of: f"{of.same_top:.2%}",
    "RMS Δp>": lambda of: f"{of.rms_probability_change:.2%}",
}
_FULL_WIDTH = 100
"""Characters that all columns take."""
_LEFT_OUT = ("median>", "99 %>", "RMS Δp>")
"""Columns that narrower terminals do not get."""


def print_quality(console: Console, found: Evaluated) -> None:
    figures = fitting(console, _FIGURES, _FULL_WIDTH, _LEFT_OUT)
    table = plain_table("rung", "size>", *figures)
    for name, rung in found.rungs.items():
        table.add_row(name, show_bytes(found.sizes[name]), *(show(rung) for show in figures.values()))
    console.print(table)
    source = next(iter(found.rungs.values())).reference_perplexity
    console.print(f"The source: perplexity {source:.4f}, over {counted(found.chunks, 'chunk')}.")
