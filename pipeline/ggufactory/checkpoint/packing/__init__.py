from __future__ import annotations

from math import prod
from typing import Any

from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.checkpoint.rows import StoredRows
from ggufactory.checkpoint.weight_tensor import WeightTensor


def unpacked(checkpoint: Checkpoint, config: dict[str, Any]) -> dict[str, WeightTensor]:
    out = {}
    for t in checkpoint.tensors.values():
        columns = t.shape[-1] if t.shape else 1
        source = (
            StoredRows(t.name, t.file, t.offset, t.dtype, prod(t.shape[:-1]), columns)
            if t.dtype in ("BF16", "F16", "F32")
            else None
        )
        out[t.name] = WeightTensor(t.name, t.shape, t.dtype, source)
    return out
