"""What a checkpoint means: one small declarative file per family, and the rules that they share."""

from __future__ import annotations

from ggufactory.architectures.model import Model
from ggufactory.checkpoint.checkpoint import Checkpoint

__all__ = ["describe"]


def describe(checkpoint: Checkpoint) -> Model:
    """What llama.cpp's converter makes of the checkpoint, from its headers and small files alone.

    InputError for an unknown architecture; PlanError that lists every other fault together.
    """
    # Workers import this package for its data classes; the tokenizer libraries are not for them.
    from ggufactory.architectures import registry

    return registry.describe(checkpoint)
