"""A tensor as a model knows it: its name and shape, and how its rows come from the checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from ggufactory.checkpoint.rows import SourceRows


@dataclass(frozen=True, slots=True)
class WeightTensor:
    """A logical tensor: what a packed one, with its scales, stands for, or one that is stored as it is."""

    name: str
    """Such as "model.layers.0.mlp.up_proj.weight", however many tensors of the checkpoint it is made of."""
    shape: tuple[int, ...]
    dtype: str
    """Of its weights in the checkpoint, in safetensors' word, for messages."""
    source: SourceRows | None
    """Its rows, those of a stack of matrices one after the other; a vector is one row, a single number a row
    of one. None: plain numbers of a dtype that no model is stored in."""

    @property
    def columns(self) -> int:
        return self.shape[-1] if self.shape else 1

    @property
    def rows(self) -> int:
        return prod(self.shape[:-1])
