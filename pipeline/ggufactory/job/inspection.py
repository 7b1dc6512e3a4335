"""What `ggufactory inspect` looks at: a checkpoint's headers or a GGUF file's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from ggufactory.checkpoint import open_checkpoint
from ggufactory.checkpoint.gguf_checkpoint import (
    GgufTensor,
    begins_split,
    open_gguf_checkpoint,
    read_header,
    tensors_of,
)
from ggufactory.checkpoint.gguf_names import SUFFIX
from ggufactory.checkpoint.summary import CheckpointSummary, summarize
from ggufactory.container.metadata import KeyValue
from ggufactory.errors import InputError
from ggufactory.storage import open_file
from ggufactory_kernels.types import TENSOR_TYPES


@dataclass(frozen=True, slots=True)
class GgufSummary:
    """A GGUF file by its header; a split by the headers of all its files."""

    uri: str
    files: int
    size: int
    """Bytes of all files."""
    metadata: tuple[KeyValue, ...]
    tensors: int
    parameters: int
    types: tuple[tuple[str, int, int], ...]
    """(tensor type, tensors, bytes), the one with the most bytes first."""


def inspect(uri: str) -> CheckpointSummary | GgufSummary:
    """Summarize a folder of safetensors or a `.gguf` file, local or on S3, from its headers alone.

    The first file of a split stands for all of them, any other for itself.
    """
    if not uri.endswith(SUFFIX):
        return summarize(open_checkpoint(uri))
    store, name = open_file(uri)
    info = store.stat(name)
    if info is None:
        raise InputError(f"there is no file {name} in {store.uri}")
    header = read_header(store, info)
    tensors: Iterable[GgufTensor] = tensors_of(name, header)
    sizes = [info.size]
    if begins_split(name, header):
        checkpoint = open_gguf_checkpoint(uri)
        tensors = checkpoint.tensors
        sizes = [file.size for file in checkpoint.files.values()]
    return _summarize(f"{store.uri}/{name}", sizes, header.metadata, list(tensors))


def _summarize(uri: str, sizes: list[int], metadata: tuple[KeyValue, ...], tensors: list[GgufTensor]) -> GgufSummary:
    counts: Counter[str] = Counter()
    stored: Counter[str] = Counter()
    for tensor in tensors:
        kind = TENSOR_TYPES[tensor.type]
        counts[kind.name] += 1
        stored[kind.name] += prod(tensor.ne) // kind.block * kind.block_bytes
    return GgufSummary(
        uri=uri,
        files=len(sizes),
        size=sum(sizes),
        metadata=metadata,
        tensors=len(tensors),
        parameters=sum(prod(t.ne) for t in tensors),
        types=tuple((kind, counts[kind], size) for kind, size in stored.most_common()),
    )
