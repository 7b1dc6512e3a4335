"""The two pictures of a model in a target: size against divergence, and the errors of its tensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from ggufactory.evaluate.error_map import error_map
from ggufactory.evaluate.error_plot import draw_errors
from ggufactory.evaluate.plot_paper import PLOT_SUFFIXES
from ggufactory.evaluate.quality_plot import draw_quality, points_of
from ggufactory.publish.entry import is_plain_name
from ggufactory.publish.measured import MeasuredModel

_DRAWING = 1
"""Counted up when the same figures are to be drawn anew."""
_MOST_POINTS = 100
QUALITY, ERRORS = _KINDS = ("quality", "errors")


@dataclass(frozen=True, slots=True)
class Picture:
    """`name`: of the file, without the suffix. `figures`: what it follows from, as JSON can hold it."""

    name: str
    alt: str
    """What it shows, in words."""
    figures: Any
    draw: Callable[[str, str], bytes]
    """By suffix and description."""

    @property
    def digest(self) -> str:
        """The same for the same figures, whatever release of matplotlib draws them."""
        told = [_DRAWING, self.name, self.figures]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(f"{self.name}{suffix}" for suffix in PLOT_SUFFIXES)


def picture_files(model: str) -> list[str]:
    """What the pictures of a model of that name would be called; none where it cannot begin a file's name."""
    names = [f"{model}.{kind}{suffix}" for kind in _KINDS for suffix in PLOT_SUFFIXES]
    return names if all(map(is_plain_name, names)) else []


def pictures_of(model: MeasuredModel) -> list[Picture]:
    """Those that there are figures for; none of a model whose name cannot begin a file's."""
    found = [_quality(model), _errors(model)] if picture_files(model.name) else []
    return [picture for picture in found if picture]


def _quality(model: MeasuredModel) -> Picture | None:
    divergences = {rung.made.rung: rung.quality["kld_mean"] for rung in model.rungs if rung.quality is not None}
    points = points_of(divergences, {rung.made.rung: rung.made.bytes for rung in model.rungs})
    if not points or len(points) > _MOST_POINTS:
        return None
    least, most = min(points, key=lambda p: p.divergence), max(points, key=lambda p: p.divergence)
    return Picture(
        f"{model.name}.{QUALITY}",
        f"Size of each file against its mean Kullback-Leibler divergence from the original, from {least.name} "
        f"({least.divergence:.5f}) to {most.name} ({most.divergence:.5f})",
        [[point.name, point.bytes, point.divergence] for point in points],
        partial(draw_quality, points, f"{model.name}: size and divergence of each rung"),
    )


def _errors(model: MeasuredModel) -> Picture | None:
    rungs = [(rung.made.rung, rung.errors) for rung in model.with_errors]
    errors = error_map(rungs)
    if errors is None:
        return None
    return Picture(
        f"{model.name}.{ERRORS}",
        f"Heat maps of the relative error of each tensor, by layer and kind of tensor, of {len(rungs)} "
        f"{'files' if len(rungs) > 1 else 'file'}",
        [[name, dict(found)] for name, found in rungs],
        partial(draw_errors, errors, f"{model.name}: error of each tensor"),
    )
