"""The quality of a ladder as a table: a row for each rung, the largest first."""

from __future__ import annotations

from rich.console import Console

from ggufactory.job.evaluation_job import Evaluated
from ggufactory.observe.numbers import counted, show_bytes
from ggufactory.observe.tables import plain_table


def print_quality(console: Console, found: Evaluated) -> None:
    table = plain_table(
        "rung", "size>", "perplexity>", "KLD mean>", "median>", "99 %>", "99.9 %>", "same top>", "RMS Δp>"
    )
    for name, rung in found.rungs.items():
        table.add_row(
            name,
            show_bytes(found.sizes[name]),
            f"{rung.perplexity:.4f} ± {rung.perplexity_error:.4f}",
            f"{rung.kld_mean:.6f}",
            f"{rung.kld_median:.6f}",
            f"{rung.kld_99:.5f}",
            f"{rung.kld_99_9:.5f}",
            f"{rung.same_top:.2%}",
            f"{rung.rms_probability_change:.2%}",
        )
    console.print(table)
    source = next(iter(found.rungs.values())).reference_perplexity
    console.print(f"The source: perplexity {source:.4f}, over {counted(found.chunks, 'chunk')}.")
