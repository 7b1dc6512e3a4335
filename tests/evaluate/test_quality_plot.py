"""The picture of a ladder: every rung is labelled, no label hides another, and it is the same every time."""

from __future__ import annotations

import json
import re

import pytest

from converted_rows import DATA
from ggufactory.errors import InputError
from ggufactory.evaluate.plot_paper import check_plot
from ggufactory.evaluate.quality_plot import Point, draw_quality


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


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_same_every_time(suffix: str) -> None:
    points = _recorded()[:5]
    assert draw_quality(points, "title $x$", suffix) == draw_quality(points, "title $x$", suffix)


def test_only_pictures() -> None:
    with pytest.raises(InputError, match=r"quality.pdf: a plot is an \.svg or a \.png file"):
        check_plot("out/quality.pdf")
