"""What `ggufactory inspect` looks at: a checkpoint's headers or a GGUF file's."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod

from ggufactory.checkpoint import open_checkpoint
from ggufactory.checkpoint.summary import CheckpointSummary, summarize
from ggufactory.container.decode import decode_header
from ggufactory.container.metadata import KeyValue
from ggufactory.errors import InputError
from ggufactory.storage import open_store
from ggufactory.storage.protocol import Store
from ggufactory_kernels.types import TENSOR_TYPES


@dataclass(frozen=True, slots=True)
class GgufSummary:
    """A GGUF file by its header."""

    uri: str
    size: int
    metadata: tuple[KeyValue, ...]
    tensors: int
    parameters: int
    types: tuple[tuple[str, int, int], ...]
    """(tensor type, tensors, bytes), the one with the most bytes first."""


def inspect(uri: str) -> CheckpointSummary | GgufSummary:
    """Summarize a folder of safetensors or a `.gguf` file, local or on S3, from its headers alone."""
    if not uri.endswith(".gguf"):
        return summarize(open_checkpoint(uri))
    folder, _, name = uri.rpartition("/")
    store = open_store(folder or ("/" if uri.startswith("/") else "."))
    return _summarize_gguf(store, name)


def _summarize_gguf(store: Store, name: str) -> GgufSummary:
    info = store.stat(name)
    if info is None:
        raise InputError(f"there is no file {name} in {store.uri}")

    def read(offset: int, length: int) -> bytes:
        buffer = bytearray(length)
        store.read_into(name, offset, memoryview(buffer), etag=info.etag)
        return bytes(buffer)

    header = decode_header(read, info.size, name)
    kinds = {kind.number: kind for kind in TENSOR_TYPES.values()}
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for tensor in header.tensors:
        kind = kinds[tensor.type]
        counts[kind.name] += 1
        sizes[kind.name] += kind.row_bytes(tensor.ne[0]) * prod(tensor.ne[1:])
    return GgufSummary(
        uri=f"{store.uri}/{name}",
        size=info.size,
        metadata=header.metadata,
        tensors=len(header.tensors),
        parameters=sum(prod(t.ne) for t in header.tensors),
        types=tuple((kind, counts[kind], size) for kind, size in sizes.most_common()),
    )
