"""The header of one file: the metadata that llama-quantize writes, and where each tensor lies.

Source: llama.cpp, `llama_model_quantize_impl`: the source's keys in order, then
`general.quantization_version`, `general.file_type` and the keys of the importance matrix, each moved
to the end. It copies strings as C does: what follows a zero byte is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ggufactory.architectures.model import Model, OutputTensor
from ggufactory.calibrate.imatrix import ImportanceMatrix
from ggufactory.container.header import TensorInfo, encode_header
from ggufactory.container.metadata import KeyValue, Scalar, ValueType
from ggufactory.plan.ftypes import FileType
from ggufactory.plan.recipe import Decision
from ggufactory_kernels.types import TENSOR_TYPES

ALIGNMENT = 32
QUANTIZATION_VERSION = 2
_LONGEST_STRING = 127
"""The reference passes these strings through a buffer of 128 bytes."""


def header_of(
    model: Model,
    tensors: Sequence[OutputTensor],
    rung: FileType,
    decisions: Mapping[str, Decision],
    importance: ImportanceMatrix | None,
) -> bytes:
    """The bytes before the tensor data, padding included. `tensors` in file order."""
    last = (
        KeyValue("general.quantization_version", ValueType.UINT32, QUANTIZATION_VERSION),
        KeyValue("general.file_type", ValueType.UINT32, rung.number),
        *(_importance_keys(importance) if importance else ()),
    )
    moved = {kv.key for kv in last}
    metadata = [_copied(kv) for kv in model.metadata if kv.key not in moved]
    infos = []
    offset = 0
    for tensor in tensors:
        kind = TENSOR_TYPES[decisions[tensor.name].type]
        infos.append(TensorInfo(tensor.name, tuple(reversed(tensor.shape)), kind.number, offset))
        size = tensor.rows * kind.row_bytes(tensor.columns)
        offset += size + -size % ALIGNMENT
    return encode_header([*metadata, *last], infos)


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


def _importance_keys(matrix: ImportanceMatrix) -> list[KeyValue]:
    keys = [_string("quantize.imatrix.file", matrix.file)]
    if matrix.datasets:
        keys.append(_string("quantize.imatrix.dataset", matrix.datasets[0]))
    keys.append(KeyValue("quantize.imatrix.entries_count", ValueType.UINT32, len(matrix.entries)))
    if matrix.chunk_count > 0:
        keys.append(KeyValue("quantize.imatrix.chunks_count", ValueType.UINT32, matrix.chunk_count))
    return keys


def _string(key: str, text: str | bytes) -> KeyValue:
    data = text.encode() if isinstance(text, str) else text
    return KeyValue(key, ValueType.STRING, data[:_LONGEST_STRING])
