"""The GGUF format of importance matrices, as common/imatrix-loader.cpp of llama.cpp reads it and
`save_imatrix` of its tools/imatrix/imatrix.cpp writes it.

Metadata `imatrix.datasets`, `imatrix.chunk_count` and `imatrix.chunk_size`; for each entry two F32
tensors, `<name>.in_sum2` [columns, matrices] (ggml's order) and `<name>.counts` [1, matrices]. A file of ours has one
key more, for a record of its calibration.
"""

from __future__ import annotations

from math import prod

import numpy as np
import numpy.typing as npt

from ggufactory.calibrate.sums import (
    MAX_COUNT,
    MAX_ENTRIES,
    NOT_AN_IMATRIX,
    ActivationSums,
    ImatrixFile,
    check_entry_name,
    check_sums,
)
from ggufactory.container.decode import decode_header
from ggufactory.container.header import DEFAULT_ALIGNMENT, Header, TensorInfo, encode_header, padded
from ggufactory.container.metadata import KeyValue, ValueType
from ggufactory.errors import InputError
from ggufactory_kernels.types import TENSOR_TYPES

_SUMS, _COUNTS = ".in_sum2", ".counts"
_RECORD = "ggufactory.calibration"
_F32 = TENSOR_TYPES["F32"].number


def parse_gguf(data: bytearray, file: str) -> ImatrixFile:
    """The sums and counts in the whole file `data`, as views of it; `file` is its name in messages."""
    header = decode_header(lambda offset, length: bytes(data[offset : offset + length]), len(data), file)
    datasets, chunk_count, chunk_size = _read_metadata(header, file)
    if len(header.tensors) > 2 * MAX_ENTRIES:
        raise InputError(f"{file}: {len(header.tensors):,} tensors are too many for an importance matrix")
    tensors = {tensor.name: tensor for tensor in header.tensors}
    entries: dict[str, ActivationSums] = {}
    for tensor in header.tensors:
        entry, suffix = _split(tensor.name)
        if suffix == _SUMS:
            check_entry_name(entry, file, entries)
            counts = tensors.get(entry + _COUNTS)
            if counts is None:
                raise InputError(f"{file}: the entry {entry} has sums but no counts", fix="The file is damaged")
            entries[entry] = _entry(data, header.data_offset, tensor, counts, entry, file)
        elif suffix == _COUNTS and entry + _SUMS not in tensors:
            raise InputError(f"{file}: the entry {entry} has counts but no sums", fix="The file is damaged")
    if not entries:
        raise InputError(f"{file} holds no entries", fix=NOT_AN_IMATRIX)
    record = next((kv.value for kv in header.metadata if kv.key == _RECORD and isinstance(kv.value, str)), "")
    return ImatrixFile(datasets, chunk_count, chunk_size, entries, record)


def encode_gguf(file: ImatrixFile) -> bytearray:
    """The whole file, entries sorted by name, those that no token reached included. Byte for byte what
    llama-imatrix writes, but for the record of a calibration.

    `file` is of sums of tokens: `merge` makes those of a legacy file. InputError for an entry whose name
    is too long for ggml.
    """
    tensors: list[TensorInfo] = []
    contents: list[npt.NDArray[np.float32] | npt.NDArray[np.int64]] = []
    end = 0
    for entry, sums in sorted(file.entries.items()):
        assert sums.zero_count_is_unseen, entry
        for suffix, values in ((_SUMS, sums.sums), (_COUNTS, sums.counts[:, np.newaxis])):
            tensors.append(TensorInfo(entry + suffix, (values.shape[1], values.shape[0]), _F32, end))
            contents.append(values)
            end = padded(end + 4 * values.size, DEFAULT_ALIGNMENT)
    header = encode_header(_metadata(file), tensors)
    data = bytearray(len(header) + end)
    data[: len(header)] = header
    for tensor, values in zip(tensors, contents, strict=True):
        np.frombuffer(data, "<f4", values.size, len(header) + tensor.offset)[:] = values.reshape(-1)
    return data


def _metadata(file: ImatrixFile) -> list[KeyValue]:
    return [
        KeyValue("general.type", ValueType.STRING, "imatrix"),
        KeyValue("imatrix.datasets", ValueType.ARRAY, file.datasets, ValueType.STRING),
        KeyValue("imatrix.chunk_count", ValueType.UINT32, file.chunk_count),
        KeyValue("imatrix.chunk_size", ValueType.UINT32, file.chunk_size),
        *([KeyValue(_RECORD, ValueType.STRING, file.record)] if file.record else []),
    ]


def _read_metadata(header: Header, file: str) -> tuple[tuple[str | bytes, ...], int, int]:
    """The data sets, the number of chunks and their size; llama-quantize refuses a file without these keys."""
    found = {item.key: item for item in header.metadata}
    kind = found.get("general.type")
    if kind is not None and kind.value != "imatrix":
        raise InputError(
            f"{file} is a GGUF file of the type {kind.value!a}, not an importance matrix", fix=NOT_AN_IMATRIX
        )
    datasets = found.get("imatrix.datasets")
    if datasets is None or datasets.item_type is not ValueType.STRING or not isinstance(datasets.value, tuple):
        raise InputError(f"{file} has no list of strings imatrix.datasets", fix=NOT_AN_IMATRIX)
    chunk_size = _read_number(found, "imatrix.chunk_size", file)
    names = tuple(name for name in datasets.value if isinstance(name, str | bytes))
    return names, _read_number(found, "imatrix.chunk_count", file), chunk_size


def _read_number(found: dict[str, KeyValue], key: str, file: str) -> int:
    item = found.get(key)
    if item is None or item.type is not ValueType.UINT32 or not isinstance(item.value, int):
        raise InputError(f"{file} has no UINT32 {key}", fix=NOT_AN_IMATRIX)
    if item.value >= 1 << 31:
        raise InputError(f"{file}: {key} is {item.value:,}, which cannot be right", fix="The file is damaged")
    return item.value


def _split(name: str) -> tuple[str, str]:
    """The entry's name, and which of its two tensors this is ("" for one that belongs to no entry)."""
    for suffix in (_SUMS, _COUNTS):
        if name.endswith(suffix):
            return name.removesuffix(suffix), suffix
    return name, ""


def _entry(
    data: bytearray, data_offset: int, sums: TensorInfo, counts: TensorInfo, entry: str, file: str
) -> ActivationSums:
    values = _floats(data, data_offset, sums, file)
    check_sums(values, entry, file)
    count_values = _floats(data, data_offset, counts, file)
    if not ((count_values >= 0) & (count_values <= MAX_COUNT)).all():
        raise InputError(f"{file}: the entry {entry} has counts that are negative, too large or not numbers")
    if not count_values.size or not values.size or values.size % count_values.size:
        raise InputError(
            f"{file}: the entry {entry} has {values.size:,} sums and {count_values.size:,} counts, "
            "wanted the same number of sums for each count",
            fix="The file is damaged",
        )
    # lround: halves away from zero. Exact, because a float64 holds every float32 and its half.
    whole = np.floor(count_values.astype(np.float64) + 0.5).astype(np.int64)
    return ActivationSums(values.reshape(len(whole), -1), whole, zero_count_is_unseen=True)


def _floats(data: bytearray, data_offset: int, tensor: TensorInfo, file: str) -> npt.NDArray[np.float32]:
    if tensor.type != _F32:
        raise InputError(f"{file}: the tensor {tensor.name} must be F32", fix=NOT_AN_IMATRIX)
    return np.frombuffer(data, "<f4", prod(tensor.ne), data_offset + tensor.offset)
