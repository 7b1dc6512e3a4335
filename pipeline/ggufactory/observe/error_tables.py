"""What the tensors of a target's rungs lose, for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console

from ggufactory.job.error_inspection import RungErrors
from ggufactory.observe.numbers import show_bytes
from ggufactory.observe.tables import plain_table


def errors_json(target: str, rungs: Sequence[RungErrors], worst: int) -> dict[str, Any]:
    """One object; of each rung, its `worst` tensors."""
    return {
        "target": target,
        "rungs": [
            {
                "rung": rung.rung,
                "bytes": rung.bytes,
                "bits_per_weight": rung.bits_per_weight,
                "measured": len(rung.tensors),
                "median": rung.median,
                "worst": [asdict(tensor) for tensor in rung.tensors[:worst]],
            }
            for rung in rungs
        ],
    }


def print_errors(console: Console, rungs: Sequence[RungErrors], worst: int) -> None:
    """A row for each rung, then its `worst` tensors."""
    summary = plain_table("rung", "size>", "bits/weight>", "measured>", "median>", "worst>")
    tensors = plain_table("rung", "tensor", "type", "relative error>")
    for rung in rungs:
        figures = ["", ""]
        if rung.median is not None:
            figures = [_percent(rung.median), _percent(rung.tensors[0].error)]
        count = f"{len(rung.tensors)} tensors" if rung.tensors else "none"
        summary.add_row(rung.rung, show_bytes(rung.bytes), f"{rung.bits_per_weight:.2f}", count, *figures)
        for tensor in rung.tensors[:worst]:
            tensors.add_row(rung.rung, tensor.tensor, tensor.type, _percent(tensor.error))
    console.print(summary)
    console.print()
    console.print(tensors)


def _percent(error: float) -> str:
    return f"{100 * error:.4g} %"
