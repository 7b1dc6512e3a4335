"""A picture of matplotlib's as part of a page that is light or dark."""

from __future__ import annotations

import re

from ggufactory.evaluate.plot_paper import GRID, INK, PAPER, POINT

_VARIABLES = {INK: "var(--ink)", GRID: "var(--grid)", POINT: "var(--point)", PAPER: "var(--paper)"}
_COLOUR = re.compile("|".join(map(re.escape, _VARIABLES)))
_METADATA = re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL)


def inline_svg(svg: bytes) -> str:
    """Without what belongs to a file of its own, and with the page's colours in place of the paper's."""
    text = svg.decode(errors="replace")
    text = _METADATA.sub("", text[max(text.find("<svg"), 0) :])
    return _COLOUR.sub(lambda found: _VARIABLES[found[0]], text)
