"""Sums of the squares of each column, for segments of rows: the statistics of calibration.

Nothing is copied: rows are read once, in tiles. Squares are summed in single precision over a tile's rows, and tiles
in double, so that long sums cannot drift; what is summed with what depends on shapes alone.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ggufactory_kernels.triton_ops.small_floats import from_bfloat16

_TILE_ROWS = 64
_TILE_COLUMNS = 64
_PROGRAMS = 1024
"""As many as keep a large GPU busy: segments are cut into parts until there are so many."""
_DTYPES = (torch.bfloat16, torch.float16, torch.float32)


def column_squares(
    rows: torch.Tensor, offsets: torch.Tensor | None = None, order: torch.Tensor | None = None
) -> torch.Tensor:
    """float64 [segments, columns] of `rows` [n, columns] (BF16, F16 or F32; any stride between rows).

    Segment i is the rows from offsets[i] to offsets[i + 1] (int64 [segments + 1], ascending, 0 to n); None: one
    segment. With `order` (int64 [n]) row order[k] stands at k. TypeError for other dtypes, ValueError for other shapes.
    """
    if rows.dtype not in _DTYPES:
        raise TypeError(f"rows: wanted bfloat16, float16 or float32, found {rows.dtype}")
    if rows.dim() != 2 or (rows.shape[1] > 1 and rows.stride(1) != 1):
        raise ValueError(f"rows: wanted a matrix of contiguous rows, found {list(rows.shape)}, {list(rows.stride())}")
    count, columns = rows.shape
    if offsets is None:
        offsets = torch.tensor([0, count], dtype=torch.int64, device=rows.device)
    segments = len(offsets) - 1
    tiles = triton.cdiv(columns, _TILE_COLUMNS)
    blocks = triton.cdiv(count, _TILE_ROWS)
    parts = max(min(_PROGRAMS // max(tiles * segments, 1), blocks), 1)
    part_rows = triton.cdiv(blocks, parts) * _TILE_ROWS
    found = torch.zeros((parts, segments, columns), dtype=torch.float64, device=rows.device)
    if count and columns:
        is_bfloat16 = rows.dtype is torch.bfloat16
        _column_squares[(tiles, segments, parts)](
            rows.view(torch.int16) if is_bfloat16 else rows,
            offsets if order is None else order,
            offsets,
            found,
            columns,
            rows.stride(0),
            part_rows,
            IS_BFLOAT16=is_bfloat16,
            IS_ORDERED=order is not None,
            TILE_ROWS=_TILE_ROWS,
            TILE_COLUMNS=_TILE_COLUMNS,
        )
    return found.sum(dim=0)


def column_squares_by_id(rows: torch.Tensor, ids: torch.Tensor, segments: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of rows that belong to segment ids[k] (int64 [n], below `segments`) each, as tokens do to experts.

    float64 [segments, columns], and int64 [segments]: how many rows each has.
    """
    counts = torch.bincount(ids, minlength=segments)
    offsets = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    return column_squares(rows, offsets, torch.argsort(ids, stable=True)), counts


@triton.jit
def _column_squares(
    rows: tl.tensor,
    order: tl.tensor,
    offsets: tl.tensor,
    found: tl.tensor,
    columns: tl.tensor,
    stride: tl.tensor,
    part_rows: tl.tensor,
    IS_BFLOAT16: tl.constexpr,
    IS_ORDERED: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    TILE_COLUMNS: tl.constexpr,
) -> None:
    segment = tl.program_id(1)
    part = tl.program_id(2)
    column = tl.program_id(0) * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)
    is_column = column < columns
    begin = tl.load(offsets + segment) + part * part_rows
    end = tl.minimum(tl.load(offsets + segment + 1), begin + part_rows)
    total = tl.zeros([TILE_COLUMNS], tl.float64)
    for at in range(begin, end, TILE_ROWS):
        row = at + tl.arange(0, TILE_ROWS).to(tl.int64)
        is_row = row < end
        if IS_ORDERED:
            row = tl.load(order + row, mask=is_row, other=0)
        tile = tl.load(
            rows + row[:, None] * stride + column[None, :], mask=is_row[:, None] & is_column[None, :], other=0
        )
        if IS_BFLOAT16:
            numbers = from_bfloat16(tile)
        else:
            numbers = tile.to(tl.float32)
        total += tl.sum(numbers * numbers, axis=0).to(tl.float64)
    place = (part * tl.num_programs(1) + segment).to(tl.int64) * columns + column
    tl.store(found + place, total, mask=is_column)
