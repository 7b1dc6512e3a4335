"""What llama.cpp's converter makes of a checkpoint (expected.json), and the same of a described one.

expected.json holds {"kv": {key: [type, value]}, "tensors": [[name, type, [ne0, ne1, …], SHA-256], …]}, both
in the converter's order.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ggufactory.architectures.model import Model, OutputTensor
from ggufactory.container.metadata import KeyValue, ValueType

DATA = Path(__file__).parent / "data" / "architectures"
DTYPES = {"BF16": np.dtype("<u2"), "F16": np.dtype("<f2"), "F32": np.dtype("<f4")}


def expected(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / name / "expected.json").read_text(encoding="utf-8"))
    return found


def metadata_rows(model: Model) -> list[tuple[str, list[Any]]]:
    return [(kv.key, key_value_row(kv)) for kv in model.metadata]


def tensor_rows(model: Model, folder: Path) -> list[list[Any]]:
    return [
        [t.name, t.converted_type, list(reversed(t.shape)), sha256(tensor_bytes(t, folder)).hexdigest()]
        for t in model.tensors
    ]


def tensor_bytes(tensor: OutputTensor, folder: Path) -> bytes:
    """The converter's bytes: source rows stacked, reordered, and stored in the converted type."""
    if tensor.values is not None:
        return tensor.values
    stacked = np.concatenate([_read(folder, source) for source in tensor.sources])
    if tensor.row_map is not None:
        stacked = stacked[tensor.row_map.source_rows(0, tensor.rows)]
    values = stacked.reshape(tensor.shape)
    if tensor.converted_type == "F32":
        return values.tobytes()
    return _to_bf16(values).tobytes()


def _read(folder: Path, source: Any) -> npt.NDArray[np.float32]:
    dtype = DTYPES[source.dtype]
    with (folder / source.file).open("rb") as file:
        file.seek(source.offset)
        raw = file.read(source.rows * source.columns * dtype.itemsize)
    values = np.frombuffer(raw, dtype).reshape(source.rows, source.columns)
    if source.dtype == "BF16":
        return (values.astype("<u4") << 16).view("<f4")
    return values.astype("<f4")


def _to_bf16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    bits = values.view("<u4").astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")


def key_value_row(kv: KeyValue) -> list[Any]:
    if kv.type is ValueType.ARRAY:
        assert kv.item_type is not None
        assert isinstance(kv.value, tuple)
        return [f"ARRAY/{kv.item_type.name}", list(kv.value)]
    return [kv.type.name, kv.value]
