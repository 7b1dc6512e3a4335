"""Durations as the command line and people write them."""

from __future__ import annotations

import re

from ggufactory.errors import InputError

_TEXT = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)", re.IGNORECASE)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = 3650 * 86400


def parse_duration(text: str) -> float:
    """Seconds from "90", "90s", "15m", "1.5h" or "7d", of ten years at most."""
    match = _TEXT.fullmatch(text.strip())
    if not match or (seconds := float(match[1]) * _SECONDS[match[2].lower()]) > _LONGEST:
        raise InputError(f"duration {text!r}: wanted a number and s, m, h or d, such as 15m")
    return seconds
