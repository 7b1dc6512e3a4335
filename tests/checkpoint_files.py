"""Writing the files of small checkpoints: the same bytes every time."""

from __future__ import annotations

import json
from hashlib import shake_256
from pathlib import Path
from typing import Any

import numpy as np

Json = dict[str, Any]
Shapes = dict[str, tuple[str, tuple[int, ...]]]
"""Tensors by name: dtype and shape."""


def write_json(folder: Path, name: str, content: object) -> None:
    (folder / name).write_text(json.dumps(content), encoding="utf-8")


def write_weights(folder: Path, tensors: Shapes, zeros: tuple[str, ...] = ()) -> None:
    """model.safetensors with numbers of ordinary size that depend on nothing but the tensor's name; with zeros
    where that ends in one of `zeros`."""
    header, body = {}, bytearray()
    for name, (dtype, shape) in tensors.items():
        data = _numbers(name, dtype, int(np.prod(shape)))
        if name.endswith(zeros):
            data = bytes(len(data))
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(body))


def _numbers(name: str, dtype: str, count: int) -> bytes:
    if dtype == "I64":
        return np.arange(count, dtype="<i8").tobytes()
    if dtype in ("U8", "F8_E4M3"):
        held = np.frombuffer(shake_256(name.encode()).digest(count), np.uint8)
        return (held if dtype == "U8" else held & 0x3F | 0x20).tobytes()  # positive, around one
    bits = np.frombuffer(shake_256(name.encode()).digest(4 * count), "<u4")
    # Sign and mantissa are random, the exponent is one of four around 1/64.
    single = (bits & 0x807FFFFF) | (119 + (bits >> 23 & 3)) << 23
    if dtype == "F16":
        return single.view("<f4").astype("<f2").tobytes()
    if dtype == "BF16":
        return (single >> 16).astype("<u2").tobytes()
    return single.astype("<u4").tobytes()
