"""GGUF files for tests: written as ggml writes them, in one piece or as llama-gguf-split splits them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from converted_rows import tensor_bytes
from ggufactory.architectures import describe
from ggufactory.checkpoint import open_checkpoint
from ggufactory.container.header import DEFAULT_ALIGNMENT, TensorInfo, encode_header, padded
from ggufactory.container.metadata import KeyValue, ValueType
from ggufactory_kernels import TENSOR_TYPES

FILE_TYPES = {"F32": 0, "F16": 1, "BF16": 32}


@dataclass(frozen=True)
class Stored:
    """`ne`: columns first."""

    name: str
    type: str
    ne: tuple[int, ...]
    data: bytes


@dataclass(frozen=True)
class Contents:
    metadata: tuple[KeyValue, ...]
    tensors: tuple[Stored, ...]


def u32(key: str, value: int) -> KeyValue:
    return KeyValue(key, ValueType.UINT32, value)


def f32(key: str, value: float) -> KeyValue:
    return KeyValue(key, ValueType.FLOAT32, value)


def text(key: str, value: str) -> KeyValue:
    return KeyValue(key, ValueType.STRING, value)


def write_gguf(
    path: Path, metadata: Sequence[KeyValue], tensors: Sequence[Stored], alignment: int = DEFAULT_ALIGNMENT
) -> Path:
    infos, offset = [], 0
    for t in tensors:
        infos.append(TensorInfo(t.name, t.ne, TENSOR_TYPES[t.type].number, offset))
        offset += padded(len(t.data), alignment)
    with path.open("wb") as file:
        file.write(encode_header(metadata, infos, alignment))
        for t in tensors:
            file.write(t.data + bytes(padded(len(t.data), alignment) - len(t.data)))
    return path


def write_split(folder: Path, name: str, contents: Contents, sizes: Sequence[int]) -> Path:
    """`sizes`: tensors of each file (0 for a first one of metadata alone); the path of the first."""
    count, at = len(sizes), 0
    for number, size in enumerate(sizes):
        keys = (
            KeyValue("split.no", ValueType.UINT16, number),
            KeyValue("split.tensors.count", ValueType.INT32, len(contents.tensors)),
            KeyValue("split.count", ValueType.UINT16, count),
        )
        own = contents.metadata if number == 0 else ()
        path = folder / f"{name}-{number + 1:05d}-of-{count:05d}.gguf"
        write_gguf(path, (*own, *keys), contents.tensors[at : at + size])
        at += size
    assert at == len(contents.tensors)
    return folder / f"{name}-00001-of-{count:05d}.gguf"


def converted(folder: str, kind: str = "BF16") -> Contents:
    """What the converter makes of a safetensors folder of BF16 weights with `--outtype` F32, F16 or BF16."""
    model = describe(open_checkpoint(folder))
    tensors = [
        _retyped(Stored(t.name, t.converted_type, t.shape[::-1], tensor_bytes(t, Path(folder))), kind)
        for t in model.tensors
    ]
    metadata = (replace(kv, value=FILE_TYPES[kind]) if kv.key == "general.file_type" else kv for kv in model.metadata)
    return Contents(tuple(metadata), tuple(tensors))


def _retyped(tensor: Stored, kind: str) -> Stored:
    if tensor.type != "BF16" or kind == "BF16":
        return tensor
    weights = (np.frombuffer(tensor.data, "<u2").astype("<u4") << 16).view("<f4")
    return replace(tensor, type=kind, data=weights.astype({"F32": "<f4", "F16": "<f2"}[kind]).tobytes())
