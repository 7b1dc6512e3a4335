"""What a checkpoint means: one small declarative file per family, and the rules that they share."""

from __future__ import annotations

from ggufactory.architectures.from_gguf import describe_gguf
from ggufactory.architectures.model import Model
from ggufactory.architectures.options import USUAL, ConversionOptions, read_metadata
from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.checkpoint.gguf_checkpoint import GgufCheckpoint
from ggufactory.errors import InputError

__all__ = ["ConversionOptions", "describe", "read_metadata"]


def describe(checkpoint: Checkpoint | GgufCheckpoint, options: ConversionOptions = USUAL) -> Model:
    """What llama.cpp's converter makes of the checkpoint, from its headers and small files alone; of a
    GGUF file, what it holds.

    InputError for an unknown architecture; PlanError that lists every other fault together.
    """
    if isinstance(checkpoint, GgufCheckpoint):
        if options != USUAL:
            raise InputError(
                f"{checkpoint.name}: exact_source, pre_tokenizer and metadata_file are for checkpoints; "
                "a GGUF file has been converted already",
                fix="Set keys of its metadata with --override-kv",
            )
        return describe_gguf(checkpoint)
    # Workers import this package for its data classes; the tokenizer libraries are not for them.
    from ggufactory.architectures import registry

    return registry.describe(checkpoint, options)
