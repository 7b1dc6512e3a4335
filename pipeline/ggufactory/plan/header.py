"""The header of one file: the metadata that llama-quantize writes, and where each tensor lies.

Source: llama.cpp, `llama_model_quantize_impl`: the source's keys in order, then, each moved to the
end, `general.quantization_version`, `general.file_type`, the keys that options set, those of the
importance matrix, and the number of blocks where some were pruned. It copies the source's strings as C
does: what follows a zero byte is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from ggufactory.architectures.model import OutputTensor
from ggufactory.container.header import TensorInfo, encode_header
from ggufactory.container.metadata import KeyValue, Scalar, ValueType
from ggufactory.plan.importance import UsedImportance
from ggufactory.plan.ladder import Rung
from ggufactory.plan.recipe import Decision
from ggufactory_kernels.types import TENSOR_TYPES

ALIGNMENT = 32
QUANTIZATION_VERSION = 2
_LONGEST_STRING = 127
"""The reference passes these strings through a buffer of 128 bytes."""


class HeaderOf(Protocol):
    """The header of one of a rung's files: the tensors [first, behind the last), the keys of a split,
    and whether it holds the rung's metadata."""

    def __call__(self, tensors: tuple[int, int], split: Sequence[KeyValue], with_metadata: bool, /) -> bytes: ...


def copied(metadata: Sequence[KeyValue]) -> tuple[KeyValue, ...]:
    """The source's keys as the reference copies them: strings up to their first zero byte."""
    return tuple(_copied(kv) for kv in metadata)


def metadata_of(
    metadata: Sequence[KeyValue], rung: Rung, used: UsedImportance | None, pruned: KeyValue | None
) -> list[KeyValue]:
    """The rung's keys. `metadata`: `copied` from the source; `pruned`: the new number of blocks."""
    keys = {kv.key: kv for kv in metadata}
    for kv in (
        KeyValue("general.quantization_version", ValueType.UINT32, QUANTIZATION_VERSION),
        KeyValue("general.file_type", ValueType.UINT32, rung.file_type.number),
        *rung.options.metadata,
        *(_importance_keys(used) if used else ()),
        *([pruned] if pruned else ()),
    ):
        keys.pop(kv.key, None)
        keys[kv.key] = kv
    return list(keys.values())


def encode_file_header(
    metadata: Sequence[KeyValue], tensors: Sequence[OutputTensor], decisions: Mapping[str, Decision]
) -> bytes:
    """The bytes before the tensor data, padding included. `tensors` in file order."""
    infos = []
    offset = 0
    for tensor in tensors:
        kind = TENSOR_TYPES[decisions[tensor.name].type]
        infos.append(TensorInfo(tensor.name, tuple(reversed(tensor.shape)), kind.number, offset))
        size = tensor.rows * kind.row_bytes(tensor.columns)
        offset += size + -size % ALIGNMENT
    return encode_header(metadata, infos)


def _copied(kv: KeyValue) -> KeyValue:
    if ValueType.STRING not in (kv.type, kv.item_type):
        return kv
    if isinstance(kv.value, tuple):
        return replace(kv, value=tuple(_before_zero(item) for item in kv.value))
    return replace(kv, value=_before_zero(kv.value))


def _before_zero(value: Scalar) -> Scalar:
    if isinstance(value, str):
        return value.partition("\0")[0]
    return value.partition(b"\0")[0] if isinstance(value, bytes) else value


def _importance_keys(used: UsedImportance) -> list[KeyValue]:
    matrix = used.matrix
    keys = [_string("quantize.imatrix.file", matrix.file)]
    if matrix.datasets:
        keys.append(_string("quantize.imatrix.dataset", matrix.datasets[0]))
    keys.append(KeyValue("quantize.imatrix.entries_count", ValueType.UINT32, len(used.entries)))
    if matrix.chunk_count > 0:
        keys.append(KeyValue("quantize.imatrix.chunks_count", ValueType.UINT32, matrix.chunk_count))
    return keys


def _string(key: str, text: str | bytes) -> KeyValue:
    data = text.encode() if isinstance(text, str) else text
    return KeyValue(key, ValueType.STRING, data[:_LONGEST_STRING])
