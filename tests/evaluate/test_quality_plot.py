"""The picture of a ladder: every rung is labelled, no label hides another, and it is the same every time."""

from __future__ import annotations

import json
import re

import pytest

from converted_rows import DATA
from ggufactory.errors import InputError
from ggufactory.evaluate.plot_paper import check_plot
from ggufactory.evaluate.quality_plot import Point, draw_quality, points_of


def _recorded() -> list[Point]:
    files = json.loads((DATA.parent / "whole_files.json").read_text())["files"]["imatrix"]
    return [
        Point(name, file["bytes"], file["quality"]["kld_mean"])
        for name, file in files.items()
        if file and file["quality"]["kld_mean"] > 0
    ]


def test_every_rung_is_labelled_once() -> None:
    points = _recorded()
    assert len(points) > 25
    drawn = draw_quality(points, "title", ".svg").decode()
    # In matplotlib's SVG, text is drawn as outlines with the words in a comment.
    words = re.findall(r"<!-- (\S+) -->", drawn)
    for point in points:
        assert words.count(point.name) == 1, point.name


@pytest.mark.parametrize(("size", "unit"), [(8_000_000, "MB"), (5_000_000_000, "GB"), (700_000_000_000, "GB")])
def test_sizes_are_told_in_the_unit_of_the_largest(size: int, unit: str) -> None:
    drawn = draw_quality([Point("A", size, 0.01), Point("B", size // 3, 0.1)], "title", ".svg").decode()
    assert f"<!-- size of the file or files ({unit}) -->" in drawn


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_same_every_time(suffix: str) -> None:
    points = _recorded()[:5]
    assert draw_quality(points, "title $x$", suffix) == draw_quality(points, "title $x$", suffix)


def test_only_pictures() -> None:
    with pytest.raises(InputError, match=r"quality.pdf: a plot is an \.svg or a \.png file"):
        check_plot("out/quality.pdf")


@pytest.mark.parametrize(
    "points", [[], [Point("Q4_K_M", 2_500_000, 0.01)], [Point("A", 1, 1e-6), Point("B", 1 << 50, 12.0)]]
)
def test_ladders_of_no_or_one_rung_and_of_far_ones(points: list[Point]) -> None:
    drawn = draw_quality(points, "title", ".svg").decode()
    for point in points:
        assert f"<!-- {point.name} -->" in drawn


def test_what_has_no_place_on_logarithmic_axes() -> None:
    divergences = {"Q8_0": 0.001, "BF16": 0.0, "F32": -1e-12, "EMPTY": 0.5}
    sizes = {"Q8_0": 10, "BF16": 20, "F32": 40, "EMPTY": 0}
    assert points_of(divergences, sizes) == [Point("Q8_0", 10, 0.001)]
