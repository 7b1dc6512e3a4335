"""NVFP4: groups of 16 weights of four bits with an FP8 scale, moved into ggml's blocks as they are.

ModelOpt stores X.weight, X.weight_scale and, for the whole tensor, X.weight_scale_2 and X.input_scale;
compressed-tensors X.weight_packed, X.weight_scale and the inverses of the two others, X.weight_global_scale and
X.input_global_scale. As `_nvfp4_pack` and `prepare_tensors` of llama.cpp's conversion/base.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ggufactory.checkpoint.checkpoint import SourceTensor
from ggufactory.checkpoint.json_object import clip
from ggufactory.checkpoint.packing.inverse_rows import InverseRows
from ggufactory.checkpoint.packing.nibbles import reorder_nibbles
from ggufactory.checkpoint.packing.number_types import FLOATS
from ggufactory.checkpoint.packing.packed_rows import PackedRows
from ggufactory.checkpoint.packing.stored_matrix import StoredMatrix, as_matrix
from ggufactory.checkpoint.packing.unpacking import INCOMPLETE, Unpacking, check_dtype, check_shape
from ggufactory.checkpoint.rows import SLAB_BYTES, Bytes, ReadRange, StoredRows
from ggufactory.errors import InputError

BLOCK = 64
"""Weights of a block of ggml's: four groups."""
_GROUPS = 4
_GROUP_BYTES = 8
_WITHOUT_SIGN = 127
_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Nvfp4Rows(PackedRows):
    """Rows of ggml's NVFP4 blocks: the scales of four groups without their signs, then the weights."""

    weights: StoredMatrix
    """Two in a byte."""
    scales: StoredMatrix
    """One byte for each group."""

    @property
    def companions(self) -> tuple[StoredMatrix, ...]:
        return (self.scales,)

    @property
    def dtype(self) -> str:
        return "NVFP4"

    @property
    def rows(self) -> int:
        return self.weights.rows

    @property
    def columns(self) -> int:
        return self.weights.columns * 2

    def part(self, first: int, rows: int) -> Nvfp4Rows:
        return replace(self, weights=self.weights.part(first, rows), scales=self.scales.part(first, rows))

    def read_rows(self, start: int, stop: int, out: Bytes, read: ReadRange) -> None:
        count = self.columns // BLOCK
        blocks = out.reshape(stop - start, count, _GROUPS + _GROUPS * _GROUP_BYTES)
        slab = max(SLAB_BYTES // self.weights.columns, 1)
        for at in range(start, stop, slab):
            end = min(at + slab, stop)
            held = blocks[at - start : end - start]
            scales = self.scales.read(at, end, read).reshape(end - at, count, _GROUPS)
            np.bitwise_and(scales, _WITHOUT_SIGN, out=held[:, :, :_GROUPS])
            weights = self.weights.read(at, end, read)
            for group in range(_GROUPS):
                first = _GROUPS + group * _GROUP_BYTES
                packed = weights.reshape(end - at, count, _GROUPS, _GROUP_BYTES)[:, :, group]
                reorder_nibbles(packed, held[:, :, first : first + _GROUP_BYTES])


def unpack_modelopt(unpacking: Unpacking) -> None:
    """Take ModelOpt's matrices: X.weight with X.weight_scale. X.weight_scale_2 and X.input_scale stay, where they
    are there, as tensors of one number in single precision (`nvfp4_scales` says what becomes of them).

    Other dtypes, and tensors with one scale for each row or for all (FP8), are left alone.
    """
    for weights, base in unpacking.ending(".weight"):
        scales = unpacking.tensors.get(base + ".weight_scale")
        if weights.dtype != "U8" or (scales is not None and len(scales.shape) < 2):
            continue
        with unpacking.noting_faults():
            _unpack(unpacking, weights, base)
            for name in (base + ".weight_scale_2", base + ".input_scale"):
                _keep(unpacking, name, weights, name, inverse=False)


def unpack_compressed(unpacking: Unpacking) -> None:
    """Take compressed-tensors' matrices: the same under its names, which become ModelOpt's."""
    for weights, base in unpacking.ending(".weight_packed"):
        with unpacking.noting_faults():
            _unpack(unpacking, weights, base)
            _keep(unpacking, base + ".weight_global_scale", weights, base + ".weight_scale_2", inverse=True)
            _keep(unpacking, base + ".input_global_scale", weights, base + ".input_scale", inverse=True)


def _unpack(unpacking: Unpacking, weights: SourceTensor, base: str) -> None:
    check_dtype(weights, ("U8",))
    scales = unpacking.take(base + ".weight_scale", weights, ("F8_E4M3",))
    columns = 2 * weights.shape[-1] if weights.shape else 0
    if len(weights.shape) != 2 or columns % BLOCK or columns == 0:
        raise InputError(
            f"tensor {clip(weights.name)} has the shape {list(weights.shape)}; NVFP4 weights are matrices whose "
            f"rows are multiples of {BLOCK // 2} bytes",
            fix=INCOMPLETE,
        )
    rows = weights.shape[0]
    check_shape(scales, (rows, columns * _GROUPS // BLOCK), "its weights")
    source = Nvfp4Rows(as_matrix(weights, columns // 2), as_matrix(scales, scales.shape[1]))
    unpacking.put(weights, base + ".weight", (rows, columns), source)


def _keep(unpacking: Unpacking, name: str, weights: SourceTensor, as_name: str, *, inverse: bool) -> None:
    scale = unpacking.take_any(name, weights, FLOATS)
    if scale is None:
        return
    check_shape(scale, scale.shape if scale.shape in ((), (1,)) else (1,), "NVFP4 weights")
    stored = StoredRows(name, scale.file, scale.offset, scale.dtype, 1, 1)
    unpacking.put(scale, as_name, scale.shape, InverseRows(as_matrix(scale, 1)) if inverse else stored)


def scale_values(scales: Sequence[float | None], *, stacked: bool) -> bytes | None:
    """Data (F32) of the tensor that a GGUF file has beside an NVFP4 one, for what multiplies its weights or inputs.

    `scales`: X.weight_scale_2 or X.input_scale of the tensor, or of each matrix where it is `stacked`; None where the
    checkpoint has none. None: the file has no such tensor, since all are one (`_write_scale_tensor` and
    `_write_scales_tensor` of the reference, with their tolerances).
    """
    values = np.array([1.0 if scale is None else scale for scale in scales])
    if stacked:
        trivial = np.allclose(values, 1.0, atol=_TOLERANCE)
    else:
        trivial = abs(values[0] - 1.0) < _TOLERANCE
    return None if trivial else values.astype("<f4").tobytes()
