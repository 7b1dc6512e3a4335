"""What a target already holds of a plan's files."""

from __future__ import annotations

from dataclasses import dataclass, field

from ggufactory.storage.protocol import ObjectInfo, Part, Upload


@dataclass
class Progress:
    """By file name. A file is either in `finished` or in `uploads` and `parts`."""

    finished: dict[str, ObjectInfo] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    parts: dict[str, dict[int, Part]] = field(default_factory=dict)
    """The parts that are stored, by number."""
    measured: set[int] = field(default_factory=set)
    """Spans of which it is known what the tensors of every unfinished file lose."""
