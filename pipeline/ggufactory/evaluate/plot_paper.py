"""What the plots of a ladder have in common: their paper, and how they become bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ggufactory.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLOT_SUFFIXES = (".svg", ".png")
INK, GRID, POINT, PAPER = "#1a1a1a", "#e2e2e2", "#0072b2", "#ffffff"
"""On paper of its own, so that it is as readable on a dark page as on a light one."""
_DOTS_PER_INCH = 150


def check_plot(uri: str) -> None:
    """InputError unless the suffix of `uri` names a format of pictures."""
    if not uri.endswith(PLOT_SUFFIXES):
        raise InputError(f"{uri}: a plot is an {' or a '.join(PLOT_SUFFIXES)} file")


def suffix_of(uri: str) -> str:
    """Of `PLOT_SUFFIXES`, after `check_plot`."""
    return next(suffix for suffix in PLOT_SUFFIXES if uri.endswith(suffix))


@contextmanager
def plain_settings() -> Iterator[None]:
    """matplotlib's own settings and ours, whatever the user's are; the same bytes for the same figures."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rc("font", size=9)
        matplotlib.rc("svg", hashsalt="ggufactory")
        # Names are a stranger's: a dollar sign in one begins no formula.
        matplotlib.rc("text", parse_math=False, color=INK)
        matplotlib.rc("axes", labelcolor=INK, edgecolor=INK, titlecolor=INK)
        for axis in ("xtick", "ytick"):
            matplotlib.rc(axis, color=INK, labelcolor=INK)
        yield


def picture(figure: Figure, suffix: str, description: str = "") -> bytes:
    """In the format of `suffix`, with `description` in its metadata and no time."""
    out = io.BytesIO()
    stamp: dict[str, str | None] = {"Date": None} if suffix == ".svg" else {"Software": None}
    if description:
        stamp["Description"] = description
    figure.savefig(out, format=suffix[1:], dpi=_DOTS_PER_INCH, metadata=stamp)
    return out.getvalue()


def label(text: str, most: int) -> str:
    """In characters that every font has, at most so many."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    shown = plain.encode("ascii", "backslashreplace").decode()
    return shown if len(shown) <= most else shown[: most - 3] + "..."
