"""A ladder as a picture: the size of each rung against its divergence from the source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from ggufactory.evaluate.plot_paper import (
    GRID,
    INK,
    PAPER,
    POINT,
    check_plot,
    label,
    picture,
    plain_settings,
    suffix_of,
)
from ggufactory.storage import open_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

_UNITS = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
_MAX_TITLE, _MAX_NAME = 120, 40
"""Characters; longer ones are cut."""
_DISTANCES = (6, 11, 17, 24, 32, 41)
_DIRECTIONS = ((1, 0), (1, 1), (1, -1), (0, 1), (0, -1), (-1, 0), (-1, 1), (-1, -1))
_LINE = "#808080"
_POINT, _BETWEEN, _AROUND = 4, 3, 8
"""Pixels: half a point, between two labels, and around other points, so that no name is taken for theirs."""
_LEAST = 1e-6
"""Below, a divergence is that of arithmetic alone."""


@dataclass(frozen=True, slots=True)
class Point:
    """A rung."""

    name: str
    bytes: int
    divergence: float


def points_of(divergences: Mapping[str, float], sizes: Mapping[str, int]) -> list[Point]:
    """Of rungs, by name. Those whose divergence can be drawn on a logarithmic axis, the largest first."""
    found = [Point(name, sizes[name], mean) for name, mean in divergences.items() if mean > _LEAST and sizes[name]]
    return sorted(found, key=lambda point: (-point.bytes, point.name))


def write_plot(uri: str, points: Sequence[Point], title: str) -> None:
    """Draw into the file `uri`, local or on S3, in the format of its suffix; an existing file is replaced."""
    check_plot(uri)
    store, name = open_file(uri)
    store.put(name, draw_quality(points, title, suffix_of(uri)))


def draw_quality(points: Sequence[Point], title: str, suffix: str, description: str = "") -> bytes:
    """The picture in the format of `suffix`, with `description` in its metadata; the same bytes for the same
    figures."""
    # Here and not above: matplotlib takes a second to import, and only this needs it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with plain_settings():
        figure = Figure(figsize=(9, 6), layout="constrained", facecolor=PAPER)
        canvas = FigureCanvasAgg(figure)
        axes = figure.subplots()
        axes.set_title(label(title, _MAX_TITLE))
        unit, scale = _unit(points)
        axes.set_xlabel(f"size of the file or files ({unit})")
        axes.set_ylabel("mean Kullback-Leibler divergence from the source (nats)")
        axes.set_xscale("log")
        axes.set_yscale("log")
        _plain_ticks(axes)
        axes.grid(which="major", color=GRID, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.margins(x=0.1, y=0.1)
        axes.plot(
            [point.bytes / scale for point in points],
            [point.divergence for point in points],
            "o",
            color=POINT,
            markersize=5,
        )
        canvas.draw()  # type: ignore[no-untyped-call]
        _label(axes, points, scale, canvas.get_renderer())  # type: ignore[no-untyped-call]
        return picture(figure, suffix, description)


def _unit(points: Sequence[Point]) -> tuple[str, float]:
    """The unit that the largest file is told in, and its bytes."""
    largest = max((point.bytes for point in points), default=0)
    return next(((unit, scale) for unit, scale in _UNITS if largest >= scale), ("B", 1.0))


def _plain_ticks(axes: Axes) -> None:
    """Numbers as people write them, in steps of 1, 2 and 5 where there is room."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.yaxis.set_major_locator(LogLocator())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.10f}".rstrip("0").rstrip(".")))
        axis.set_minor_formatter(NullFormatter())


def _label(axes: Axes, points: Sequence[Point], scale: float, renderer: RendererAgg) -> None:
    """Each name beside its point, where it hides least of the others: the nearest place that is free."""
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    taken: list[Bbox] = []
    for point in points:
        x, y = axes.transData.transform((point.bytes / scale, point.divergence))
        taken.append(Bbox.from_extents(x - _POINT, y - _POINT, x + _POINT, y + _POINT))
    for number, point in enumerate(points):
        others = [box.padded(_AROUND) for box in taken[: len(points)]]
        others[number] = taken[number]
        best: tuple[float, Annotation, Bbox] | None = None
        for distance, (right, up) in product(_DISTANCES, _DIRECTIONS):
            words = _annotation(axes, point, scale, right * distance, up * distance)
            # Of the words alone: an annotation's own extent holds its line, too.
            words.update_positions(renderer)
            box = Text.get_window_extent(words, renderer)
            hidden = sum(_shared(box, other) for other in (*others, *taken[len(points) :])) + _outside(box, axes.bbox)
            if best is None or hidden < best[0]:
                if best is not None:
                    best[1].remove()
                best = hidden, words, box
            else:
                words.remove()
            if not hidden:
                break
        assert best is not None
        taken.append(best[2].padded(_BETWEEN))


def _annotation(axes: Axes, point: Point, scale: float, right: float, up: float) -> Annotation:
    # From the corner of the words that is nearest to the point: from their middle, short lines would be under them.
    corner = (0.5 - 0.5 * _sign(right), 0.5 - 0.5 * _sign(up))
    line = {"arrowstyle": "-", "color": _LINE, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 3}
    line |= {"patchA": None, "relpos": corner}
    far = max(abs(right), abs(up)) > _DISTANCES[0]
    return axes.annotate(
        label(point.name, _MAX_NAME),
        (point.bytes / scale, point.divergence),
        xytext=(right, up),
        textcoords="offset points",
        ha="left" if right > 0 else "right" if right < 0 else "center",
        va="bottom" if up > 0 else "top" if up < 0 else "center",
        fontsize=7.5,
        color=INK,
        arrowprops=line if far or (right and up) else None,
    )


def _sign(number: float) -> int:
    return (number > 0) - (number < 0)


def _outside(box: Bbox, panel: Bbox) -> float:
    """Area of the part of `box` that is not on the panel."""
    return float(box.width * box.height) - _shared(box, panel)


def _shared(a: Bbox, b: Bbox) -> float:
    """Area of what both cover, in pixels."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return float(max(width, 0.0) * max(height, 0.0))
