"""FP8 and int8 weights that are multiplied by scales: by tensor, row or block.

Each weight and its scale in single precision, multiplied once, as `dequant_simple` in `ModelBase.dequant_model` of
llama.cpp's conversion/base.py.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ggufactory_kernels.triton_ops.decoded_rows import rows_for, source_row, store, stored
from ggufactory_kernels.triton_ops.small_floats import from_e4m3, from_e5m2

_TILE_ROWS = 8
_TILE_COLUMNS = 256
_FORMATS = {torch.float8_e4m3fn: 0, torch.float8_e5m2: 1, torch.int8: 2}


def decode_scaled_bytes(
    weights: torch.Tensor,
    scales: torch.Tensor,
    scale_rows: torch.Tensor,
    block_columns: int,
    dtype: torch.dtype = torch.float32,
    order: torch.Tensor | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """[rows, columns] of `dtype` (float32 or bfloat16) of contiguous `weights` [rows, columns].

    `weights`: float8_e4m3fn, float8_e5m2 or int8. `scales` (floating point) [n, blocks] has one number for each
    `block_columns` columns; row k of the weights is multiplied by its row scale_rows[k] (int64 [rows]). With `order`
    (int64 [n]) the result has n rows, of which k is row order[k] with its scales. It lies in `out`, where that is
    given. TypeError and ValueError for what does not fit; that `scale_rows` and `order` name no row that is not there
    is the caller's to know.
    """
    if weights.dtype not in _FORMATS:
        raise TypeError(f"weights: wanted float8_e4m3fn, float8_e5m2 or int8, found {weights.dtype}")
    if weights.dim() != 2 or not weights.is_contiguous():
        raise ValueError(f"weights: wanted a contiguous matrix, found {list(weights.shape)}")
    rows, columns = weights.shape
    blocks = -(-columns // block_columns)
    if scales.dim() != 2 or scales.shape[1] != blocks:
        raise ValueError(f"scales: wanted rows of {blocks}, found {list(scales.shape)}")
    if scale_rows.dtype is not torch.int64:
        raise TypeError(f"scale_rows: wanted int64, found {scale_rows.dtype}")
    if scale_rows.shape != (rows,):
        raise ValueError(f"scale_rows: wanted {rows} numbers, found {list(scale_rows.shape)}")
    out = rows_for((rows, columns), dtype, order, weights.device, out)
    as_bytes = weights.view(torch.uint8)
    if out.numel():
        _decode[(triton.cdiv(len(out), _TILE_ROWS), triton.cdiv(columns, _TILE_COLUMNS))](
            as_bytes,
            # Few beside the weights, and exact.
            scales.float().contiguous(),
            scale_rows,
            as_bytes if order is None else order,
            stored(out),
            len(out),
            columns,
            blocks,
            block_columns,
            FORMAT=_FORMATS[weights.dtype],
            IS_ORDERED=order is not None,
            IS_BFLOAT16=dtype is torch.bfloat16,
            TILE_ROWS=_TILE_ROWS,
            TILE_COLUMNS=_TILE_COLUMNS,
        )
    return out


@triton.jit(do_not_specialize=["rows", "blocks", "block_columns"])
def _decode(
    weights: tl.tensor,
    scales: tl.tensor,
    scale_rows: tl.tensor,
    order: tl.tensor,
    out: tl.tensor,
    rows: tl.tensor,
    columns: tl.tensor,
    blocks: tl.tensor,
    block_columns: tl.tensor,
    FORMAT: tl.constexpr,
    IS_ORDERED: tl.constexpr,
    IS_BFLOAT16: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    TILE_COLUMNS: tl.constexpr,
) -> None:
    row = tl.program_id(0) * TILE_ROWS + tl.arange(0, TILE_ROWS)
    column = tl.program_id(1) * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)
    mask = (row < rows)[:, None] & (column < columns)[None, :]
    source = source_row(order, row, row < rows, IS_ORDERED)
    byte = tl.load(weights + source[:, None] * columns + column[None, :], mask=mask, other=0).to(tl.int32)
    scale_row = tl.load(scale_rows + source, mask=row < rows, other=0)
    scale = tl.load(scales + scale_row[:, None] * blocks + (column // block_columns)[None, :], mask=mask, other=0.0)
    if FORMAT == 0:
        numbers = from_e4m3(byte)
    elif FORMAT == 1:
        numbers = from_e5m2(byte)
    else:
        numbers = ((byte ^ 128) - 128).to(tl.float32)
    store(out, row.to(tl.int64)[:, None] * columns + column[None, :], numbers * scale, mask, IS_BFLOAT16)
