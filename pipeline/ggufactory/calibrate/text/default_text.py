"""The calibration text that comes with the package; what it is made of is told in `default_text.md` beside it."""

from __future__ import annotations

import gzip
from importlib.resources import files

DEFAULT = "default"
"""What it is called where texts are named."""
DEFAULT_NAME = "ggufactory-default-1.txt"
"""What a matrix tells of it. Another content gets another number."""


def read_default_text() -> bytes:
    """UTF-8."""
    return gzip.decompress(files(__package__).joinpath("default_text.txt.gz").read_bytes())
