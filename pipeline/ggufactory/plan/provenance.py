"""What a plan tells of its source beside the weights; no byte of a weight follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Provenance:
    """Of one source, as it was when the plan was made."""

    read: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 (hexadecimal) by name, of the small files that say what the weights are."""
    card: Mapping[str, object] = field(default_factory=dict)
    """What its model card's front matter says and a card of quants carries on: `license`, `language` …"""


UNTOLD = Provenance()
"""Of a plan that makes no manifest."""
