"""A tensor of a checkpoint as a model means it, however it is packed."""

from __future__ import annotations

from dataclasses import dataclass

from ggufactory.checkpoint.rows import SourceRows


@dataclass(frozen=True, slots=True)
class WeightTensor:
    """`shape` is the model's, rows first; a vector is one row."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    """As the checkpoint names it, for messages."""
    source: SourceRows | None
    """None where `dtype` is not supported."""

    @property
    def columns(self) -> int:
        return self.shape[-1] if self.shape else 1
