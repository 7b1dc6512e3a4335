"""MXFP4 and NVFP4 weights as checkpoints store them: two E2M1 numbers in a byte, the first in the low half.

The numbers are ggml's for the same blocks (`dequantize_row_mxfp4` and `dequantize_row_nvfp4` of ggml-quants.c): what
multiplies a whole NVFP4 tensor is not part of them.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ggufactory_kernels.triton_ops.decoded_rows import rows_for, source_row, store, stored
from ggufactory_kernels.triton_ops.small_floats import doubled_e2m1, from_e4m3, half_of_e8m0

_MXFP4_GROUP, _NVFP4_GROUP = 32, 16
"""Weights that share a scale."""
_TILE_ROWS = 8
_TILE_COLUMNS = 256


def decode_mxfp4(
    weights: torch.Tensor, scales: torch.Tensor, dtype: torch.dtype = torch.float32, order: torch.Tensor | None = None
) -> torch.Tensor:
    """[rows, columns] of `dtype` (float32 or bfloat16) of `weights`, uint8 [rows, columns / 2].

    `scales`: uint8 [rows, columns / 32], exponents of two. With `order` (int64 [n]) the result has n rows, of which k
    is row order[k]. TypeError and ValueError for what does not fit.
    """
    return _decoded(weights, scales, _MXFP4_GROUP, dtype, order)


def decode_nvfp4(
    weights: torch.Tensor, scales: torch.Tensor, dtype: torch.dtype = torch.float32, order: torch.Tensor | None = None
) -> torch.Tensor:
    """The same of NVFP4: `scales` [rows, columns / 16], FP8 (E4M3) by its bytes, of which the sign is not used."""
    return _decoded(weights, scales, _NVFP4_GROUP, dtype, order)


def _decoded(
    weights: torch.Tensor, scales: torch.Tensor, group: int, dtype: torch.dtype, order: torch.Tensor | None
) -> torch.Tensor:
    for name, tensor in (("weights", weights), ("scales", scales)):
        if tensor.dtype is not torch.uint8:
            raise TypeError(f"{name}: wanted uint8, found {tensor.dtype}")
        if tensor.dim() != 2 or not tensor.is_contiguous():
            raise ValueError(f"{name}: wanted a contiguous matrix, found {list(tensor.shape)}")
    rows, columns = weights.shape[0], 2 * weights.shape[1]
    if columns % group or scales.shape != (rows, columns // group):
        raise ValueError(f"scales: wanted one for {group} of {[rows, columns]} weights, found {list(scales.shape)}")
    out = rows_for((rows, columns), dtype, order, weights.device, None)
    if out.numel():
        _decode[(triton.cdiv(len(out), _TILE_ROWS), triton.cdiv(columns, _TILE_COLUMNS))](
            weights,
            scales,
            weights if order is None else order,
            stored(out),
            len(out),
            columns,
            GROUP=group,
            IS_ORDERED=order is not None,
            IS_BFLOAT16=dtype is torch.bfloat16,
            TILE_ROWS=_TILE_ROWS,
            TILE_COLUMNS=_TILE_COLUMNS,
        )
    return out


@triton.jit(do_not_specialize=["rows"])
def _decode(
    weights: tl.tensor,
    scales: tl.tensor,
    order: tl.tensor,
    out: tl.tensor,
    rows: tl.tensor,
    columns: tl.tensor,
    GROUP: tl.constexpr,
    IS_ORDERED: tl.constexpr,
    IS_BFLOAT16: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    TILE_COLUMNS: tl.constexpr,
) -> None:
    row = tl.program_id(0) * TILE_ROWS + tl.arange(0, TILE_ROWS)
    column = tl.program_id(1) * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)
    mask = (row < rows)[:, None] & (column < columns)[None, :]
    source = source_row(order, row, row < rows, IS_ORDERED)
    place = source[:, None] * columns + column[None, :]
    byte = tl.load(weights + place // 2, mask=mask, other=0).to(tl.int32)
    nibble = (byte >> (4 * (column & 1))[None, :]) & 15
    scale = tl.load(scales + place // GROUP, mask=mask, other=0).to(tl.int32)
    if GROUP == 32:
        factor = half_of_e8m0(scale)
    else:
        size = scale & 127
        factor = tl.where(size == 127, 0.0, from_e4m3(size)) * 0.5
    numbers = doubled_e2m1(nibble).to(tl.float32) * factor
    store(out, row.to(tl.int64)[:, None] * columns + column[None, :], numbers, mask, IS_BFLOAT16)
