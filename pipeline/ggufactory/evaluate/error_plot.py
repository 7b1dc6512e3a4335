"""The errors of a ladder's tensors as a picture: a heat map of kinds by layers for each rung, on one scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ggufactory.evaluate.error_map import ErrorMap
from ggufactory.evaluate.plot_paper import PAPER, label, picture, plain_settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

_COLOURS = "viridis"
"""As even to the eye as to the numbers, also to eyes that tell no red from green."""
_NOT_QUANTIZED = "#dedede"
_LEAST, _MOST = 1e-4, 1e4
"""The scale ends here, whatever the figures are."""
_WIDTH, _NAMES, _GAP = 10.0, 1.35, 0.2
"""Inches, as all sizes are: of the picture at most, of the kinds' names at its left, between two panels."""
_LEAST_PANEL, _LEAST_LAYER, _MOST_LAYER = 1.5, 0.03, 0.2
_KIND, _ABOVE_PANEL, _HEAD, _FOOT = 0.14, 0.42, 1.0, 0.1
_MOST_COLUMNS = 5
_LEAST_WIDTH = 5.5
_MAX_TITLE, _MAX_NAME, _MAX_KIND = 120, 40, 26
"""Characters; longer ones are cut."""
_WIDTH_OF_NUMBER = 0.3
_MANY_DECADES = 2.5
"""More than these have room for one number each."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Of the panels in the picture."""

    columns: int
    panel_width: float
    panel_height: float
    width: float
    height: float

    @staticmethod
    def of(errors: ErrorMap) -> _Layout:
        """As many panels beside each other as have room for their layers."""
        layers, count = len(errors.layers), len(errors.rungs)
        room = _WIDTH - _NAMES
        least = max(layers * _LEAST_LAYER, _LEAST_PANEL) + _GAP
        columns = max(min(int(room / least), _MOST_COLUMNS, count), 1)
        panel_width = min(room / columns - _GAP, max(layers * _MOST_LAYER, _LEAST_PANEL))
        panel_height = len(errors.kinds) * _KIND
        rows = -(-count // columns)
        width = max(_NAMES + columns * (panel_width + _GAP), _LEAST_WIDTH)
        return _Layout(columns, panel_width, panel_height, width, _HEAD + rows * (panel_height + _ABOVE_PANEL) + _FOOT)

    def place(self, number: int) -> tuple[float, float, float, float]:
        """Of a panel, in shares of the picture: left, bottom, width, height."""
        row, column = divmod(number, self.columns)
        left = _NAMES + column * (self.panel_width + _GAP)
        bottom = self.height - _HEAD - row * (self.panel_height + _ABOVE_PANEL) - self.panel_height
        return left / self.width, bottom / self.height, self.panel_width / self.width, self.panel_height / self.height


def draw_errors(errors: ErrorMap, title: str, suffix: str, description: str = "") -> bytes:
    """The picture in the format of `suffix`, with `description` in its metadata; the same bytes for the same
    figures."""
    # Here and not above: matplotlib takes a second to import, and only this needs it.
    from matplotlib.figure import Figure

    layout = _Layout.of(errors)
    with plain_settings():
        figure = Figure(figsize=(layout.width, layout.height), facecolor=PAPER)
        figure.suptitle(label(title, _MAX_TITLE), fontsize=10, y=1 - 0.12 / layout.height, va="top")
        scale = _scale(errors)
        for number in range(len(errors.rungs)):
            _draw_panel(figure.add_axes(layout.place(number)), errors, number, layout, scale)
        _draw_key(figure, layout, scale)
        figure.text(
            _NAMES / layout.width,
            0.1 / layout.height,
            "Columns are layers; what belongs to no layer fills its row. Grey: not quantized.",
            fontsize=7.5,
        )
        return picture(figure, suffix, description)


def _scale(errors: ErrorMap) -> LogNorm:
    """One for all panels."""
    from matplotlib.colors import LogNorm

    found = np.clip(errors.tables[errors.tables > 0], _LEAST, _MOST)
    least, most = (float(found.min()), float(found.max())) if found.size else (_LEAST, 1.0)
    return LogNorm(least, max(most, least * 1.1))


def _draw_panel(axes: Axes, errors: ErrorMap, number: int, layout: _Layout, scale: LogNorm) -> None:
    from matplotlib import colormaps

    palette = colormaps[_COLOURS].with_extremes(bad=_NOT_QUANTIZED)
    table = np.clip(errors.tables[number], _LEAST, _MOST)
    axes.imshow(table, norm=scale, cmap=palette, aspect="auto", interpolation="nearest")
    axes.set_title(label(errors.rungs[number], _MAX_NAME), fontsize=8.5, pad=3, loc="left")
    first = number % layout.columns == 0
    kinds = [label(kind, _MAX_KIND) if first else "" for kind in errors.kinds]
    axes.set_yticks(range(len(kinds)), kinds, fontsize=7)
    step = _step(len(errors.layers), layout.panel_width)
    shown = [(place, layer) for place, layer in enumerate(errors.layers) if not layer % step]
    axes.set_xticks([place for place, _ in shown], [str(layer) for _, layer in shown], fontsize=7)
    axes.tick_params(length=0, pad=2)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _step(layers: int, width: float) -> int:
    """Between the layers that have their number below them."""
    return next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500) if layers / step * _WIDTH_OF_NUMBER <= width)


def _draw_key(figure: Figure, layout: _Layout, scale: LogNorm) -> None:
    """The colour bar, above the panels."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    width = min(4.0, layout.width - 2 * _NAMES)
    place = (_NAMES / layout.width, 1 - 0.62 / layout.height, width / layout.width, 0.12 / layout.height)
    bar = figure.colorbar(ScalarMappable(scale, _COLOURS), cax=figure.add_axes(place), orientation="horizontal")
    decades = math.log10(float(scale.vmax or 1) / float(scale.vmin or 1))
    bar.ax.xaxis.set_major_locator(LogLocator(subs=(1,) if decades > _MANY_DECADES else (1, 2, 5)))
    bar.ax.xaxis.set_minor_locator(NullLocator())
    bar.ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.6g} %"))
    bar.ax.tick_params(labelsize=7)
    bar.ax.set_title("relative error, weighted by importance", fontsize=8, pad=3, loc="left")
