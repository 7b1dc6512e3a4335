"""Texts of strangers (file names, licenses, datasets) as Markdown that shows them and means nothing else."""

from __future__ import annotations

import re
import shlex
from urllib.parse import quote

_MEANS_SOMETHING = re.compile(r"([\\`*_{}\[\]<>()#+!|~$&])")


def plain(text: str) -> str:
    """To be read as it is, also in a cell of a table."""
    return _MEANS_SOMETHING.sub(r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """In code's type, also in a cell of a table."""
    line = " ".join(text.split()).replace("|", "\\|")
    fence = "``" if "`" in line else "`"
    pad = " " if "`" in line else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def link(name: str, text: str | None = None) -> str:
    """To the file of that name beside the card."""
    return f"[{plain(text or name)}]({quote(name)})"


def picture(name: str, alt: str) -> str:
    """The picture of that name beside the card, with what it shows in words."""
    return f"![{plain(alt)}]({quote(name)})"


def shell(text: str) -> str:
    """As one word of a command line, which stays one line."""
    return shlex.quote(" ".join(text.split()))


def size(count: int) -> str:
    """In powers of 1000, as stores bill: "4.37 MB", "45.12 GB"."""
    for unit, each in (("GB", 1e9), ("MB", 1e6)):
        if count >= each:
            return f"{count / each:.2f} {unit}"
    return f"{count / 1e3:.2f} kB"
