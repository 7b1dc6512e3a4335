"""An importance matrix as a picture: heat maps of layers by kinds of tensors, and what changes from layer to layer."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ggufactory.calibrate.imatrix_statistics import ExpertCoverage, ImatrixStatistics, TensorStatistics, layer_of
from ggufactory.errors import InputError
from ggufactory.storage import open_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLOT_SUFFIXES = (".svg", ".png")
_DOTS_PER_INCH = 150
_MAX_ROWS, _MAX_KINDS = 1000, 100
"""Models have at most some hundred layers and two dozen kinds; other files get no picture."""
_MAX_LABELS = 45
_MAX_TITLE, _MAX_KIND = 120, 32
"""Characters; longer ones are cut."""
_KEY_HEIGHT = 0.12
"""Inches, as all sizes are: of the row of colour bars and legends above the panels."""
_OUTSIDE = "outside"
"""The row of tensors that belong to no layer."""
_NO_DATA, _DOT, _LINE, _RANGE = "0.88", "0.55", "#0072B2", "#9ec9e2"

Rows = Sequence[int | None]
Cell = Callable[[TensorStatistics], float]


def check_plot(uri: str) -> None:
    """InputError unless the suffix of `uri` names a format of pictures."""
    if not uri.endswith(PLOT_SUFFIXES):
        raise InputError(f"{uri}: a plot is an {' or a '.join(PLOT_SUFFIXES)} file")


def write_plot(uri: str, statistics: ImatrixStatistics, title: str) -> None:
    """Draw into the file `uri`, local or on S3, in the format of its suffix; an existing file is replaced."""
    check_plot(uri)
    store, name = open_file(uri)
    store.put(name, draw(statistics, title, next(suffix for suffix in PLOT_SUFFIXES if uri.endswith(suffix))))


def draw(statistics: ImatrixStatistics, title: str, suffix: str) -> bytes:
    """The picture in the format of `suffix`; the same bytes for the same figures.

    One row is one layer, in all panels: mean squared activation and normalized entropy of each kind of
    tensor, similarity to the layer before, and, for a mixture of experts, tokens per expert.
    """
    # Here and not above: matplotlib takes a second to import, and only this needs it.
    import matplotlib
    from matplotlib.figure import Figure

    rows = _rows(statistics.tensors)
    kinds = _kinds(statistics.tensors)
    if len(rows) > _MAX_ROWS or len(kinds) > _MAX_KINDS:
        raise InputError(
            f"{len(rows):,} layers of {len(kinds):,} kinds of tensors cannot be drawn; "
            f"at most {_MAX_ROWS:,} by {_MAX_KINDS} are"
        )
    map_width = max(2.8, 0.26 * len(kinds))
    widths = [map_width, map_width, 2.6] + [2.6] * bool(statistics.experts)
    height = min(max(2.2, 0.15 * len(rows)), 14.0)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rc("font", size=8)
        matplotlib.rc("axes", titlesize=9)
        matplotlib.rc("svg", hashsalt="ggufactory")
        # Names are a stranger's: a dollar sign in one begins no formula.
        matplotlib.rc("text", parse_math=False)
        figure = Figure(figsize=(sum(widths) + 1.0, height + 2.4), layout="constrained")
        keys, panels = figure.subplots(2, len(widths), width_ratios=widths, height_ratios=[_KEY_HEIGHT, height])
        figure.suptitle(_label(title, _MAX_TITLE), fontsize=10)
        _draw_maps(figure, keys, panels, statistics.tensors, rows, kinds)
        _draw_similarity(keys[2], panels[2], statistics.tensors, rows)
        if statistics.experts:
            _draw_experts(keys[3], panels[3], statistics.experts, rows)
        _label_rows(panels, rows)
        out = io.BytesIO()
        stamp = {"Date": None} if suffix == ".svg" else {"Software": None}
        figure.savefig(out, format=suffix[1:], dpi=_DOTS_PER_INCH, metadata=stamp)
    return out.getvalue()


def _rows(tensors: Sequence[TensorStatistics]) -> Rows:
    """The layers, and below them one row for what belongs to none."""
    layers = {of.layer for of in tensors}
    return sorted(layer for layer in layers if layer is not None) + [None] * (None in layers)


def _label(text: str, most: int) -> str:
    """In characters that every font has."""
    shown = text.encode("ascii", "backslashreplace").decode()
    return shown if len(shown) <= most else shown[: most - 3] + "..."


def _kinds(tensors: Sequence[TensorStatistics]) -> list[str]:
    """Attention before feed-forward, as a layer computes; the rest after them."""
    order = ("attn", "ssm", "ffn")
    rank = {
        kind: next((n for n, prefix in enumerate(order) if kind.startswith(prefix)), len(order))
        for kind in {of.kind for of in tensors}
    }
    return sorted(rank, key=lambda kind: (rank[kind], kind))


def _draw_maps(
    figure: Figure,
    keys: Sequence[Axes],
    panels: Sequence[Axes],
    tensors: Sequence[TensorStatistics],
    rows: Rows,
    kinds: Sequence[str],
) -> None:
    from matplotlib import colormaps

    maps: tuple[tuple[str, str, Cell], ...] = (
        ("mean squared activation (log10)", "viridis", _logarithm_of_mean),
        ("entropy of the columns (% of maximum)", "cividis", lambda of: 100 * of.normalized_entropy),
    )
    for key, panel, (title, colours, cell) in zip(keys, panels, maps, strict=False):
        palette = colormaps[colours].with_extremes(bad=_NO_DATA)
        image = panel.imshow(_grid(tensors, rows, kinds, cell), aspect="auto", cmap=palette, interpolation="nearest")
        panel.set_xticks(range(len(kinds)), [_label(kind, _MAX_KIND) for kind in kinds], rotation=90)
        figure.colorbar(image, cax=key, orientation="horizontal")
        key.set_title(title)


def _logarithm_of_mean(of: TensorStatistics) -> float:
    return float(np.log10(of.mean)) if 0 < of.mean < np.inf else np.nan


def _grid(tensors: Sequence[TensorStatistics], rows: Rows, kinds: Sequence[str], cell: Cell) -> npt.NDArray[np.float64]:
    grid = np.full((len(rows), len(kinds)), np.nan)
    row_of, column_of = {row: n for n, row in enumerate(rows)}, {kind: n for n, kind in enumerate(kinds)}
    for of in tensors:
        grid[row_of[of.layer], column_of[of.kind]] = cell(of)
    return grid


def _draw_similarity(key: Axes, panel: Axes, tensors: Sequence[TensorStatistics], rows: Rows) -> None:
    at: dict[int | None, list[float]] = {}
    for of in tensors:
        if of.similarity is not None:
            at.setdefault(of.layer, []).append(of.similarity)
    points = [(value, n) for n, row in enumerate(rows) for value in at.get(row, ())]
    panel.scatter([x for x, _ in points], [y for _, y in points], s=9, color=_DOT, linewidths=0, label="a tensor")
    means = [float(np.mean(at[row])) if row in at else np.nan for row in rows]
    panel.plot(means, range(len(rows)), color=_LINE, marker="o", markersize=3, linewidth=1.2, label="mean of the layer")
    panel.set_xlabel("cosine")
    panel.set_xlim(-0.03, 1.03)
    _finish_lines(key, panel, "similarity to the layer before")


def _draw_experts(key: Axes, panel: Axes, experts: Sequence[ExpertCoverage], rows: Rows) -> None:
    at = {layer_of(of.entry): of for of in experts}
    shown = [(n, at[row]) for n, row in enumerate(rows) if row in at]
    lines = [n for n, _ in shown]
    panel.hlines(
        lines,
        [of.fewest for _, of in shown],
        [of.most for _, of in shown],
        color=_RANGE,
        linewidth=2,
        label="fewest to most",
    )
    panel.plot([of.median for _, of in shown], lines, "o", color=_LINE, markersize=3, label="median")
    unseen = [n for n, of in shown if of.unseen]
    panel.plot([0] * len(unseen), unseen, "x", color="#D55E00", markersize=4, label="some get none")
    panel.set_xscale("symlog", linthresh=1)
    panel.set_xlim(left=-0.2)
    panel.xaxis.set_major_formatter("{x:,.0f}")
    panel.set_xlabel("tokens")
    _finish_lines(key, panel, "tokens per expert")


def _finish_lines(key: Axes, panel: Axes, title: str) -> None:
    panel.grid(color="0.9", linewidth=0.6)
    panel.set_axisbelow(True)
    key.set_axis_off()
    key.set_title(title)
    marks, labels = panel.get_legend_handles_labels()
    key.legend(
        marks,
        labels,
        loc="upper center",
        ncols=3,
        frameon=False,
        fontsize=7,
        borderpad=0,
        handlelength=1.2,
        handletextpad=0.4,
        columnspacing=0.8,
    )


def _label_rows(panels: Sequence[Axes], rows: Rows) -> None:
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100) if len(rows) <= step * _MAX_LABELS)
    labels = [(n, _OUTSIDE if row is None else str(row)) for n, row in enumerate(rows) if row is None or not row % step]
    for panel in panels:
        panel.set_ylim(len(rows) - 0.5, -0.5)
        panel.set_yticks([n for n, _ in labels], [""] * len(labels))
        panel.tick_params(axis="y", length=0)
    panels[0].set_yticks([n for n, _ in labels], [label for _, label in labels])
    panels[0].set_ylabel("layer")
