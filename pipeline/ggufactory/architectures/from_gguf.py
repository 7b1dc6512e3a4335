"""What a GGUF file means: its own metadata and tensors, whatever the architecture."""

from __future__ import annotations

from math import prod

from ggufactory.architectures.model import Model, OutputTensor
from ggufactory.checkpoint.gguf_checkpoint import GgufCheckpoint, GgufTensor
from ggufactory.checkpoint.rows import StoredRows
from ggufactory.errors import InputError

ARCHITECTURE_KEY = "general.architecture"


def describe_gguf(checkpoint: GgufCheckpoint) -> Model:
    """The model as it lies there. InputError when it does not name its architecture."""
    architecture = next((kv.value for kv in checkpoint.metadata if kv.key == ARCHITECTURE_KEY), None)
    if not isinstance(architecture, str) or not architecture.isprintable() or not architecture:
        first = next(iter(checkpoint.files))
        raise InputError(
            f"{first}: metadata key {ARCHITECTURE_KEY}: wanted a name such as llama, found {architecture!r:.80}",
            fix="Give the GGUF file of a model",
        )
    return Model(architecture, checkpoint.metadata, tuple(_tensor(t) for t in checkpoint.tensors))


def _tensor(tensor: GgufTensor) -> OutputTensor:
    columns, *outer = tensor.ne
    rows = StoredRows(tensor.name, tensor.file, tensor.offset, tensor.type, prod(outer), columns)
    return OutputTensor(tensor.name, tuple(reversed(tensor.ne)), tensor.type, (rows,))
