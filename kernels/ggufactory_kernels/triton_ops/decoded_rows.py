"""What all decodes have in common: where rows go to, in which order, and in which precision."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ggufactory_kernels.triton_ops.small_floats import to_bfloat16

DTYPES = (torch.float32, torch.bfloat16)


def new_rows(
    rows: int, columns: int, dtype: torch.dtype, order: torch.Tensor | None, device: torch.device
) -> torch.Tensor:
    """An empty [rows, columns], or as many rows as `order` names. TypeError for a dtype that is not of `DTYPES`, and
    for an order that is not int64 or lies elsewhere; ValueError for one that is no list."""
    if dtype not in DTYPES:
        raise TypeError(f"dtype: wanted float32 or bfloat16, found {dtype}")
    if order is not None and (order.dtype is not torch.int64 or order.device != device):
        raise TypeError(f"order: wanted int64 on {device}, found {order.dtype} on {order.device}")
    if order is not None and order.dim() != 1:
        raise ValueError(f"order: wanted one number for each row, found the shape {list(order.shape)}")
    return torch.empty((rows if order is None else len(order), columns), dtype=dtype, device=device)


def stored(out: torch.Tensor) -> torch.Tensor:
    """`out` as `store` wants it: BF16 by its bits."""
    return out.view(torch.int16) if out.dtype is torch.bfloat16 else out


@triton.jit
def source_row(order: tl.tensor, row: tl.tensor, is_row: tl.tensor, IS_ORDERED: tl.constexpr) -> tl.tensor:
    """Which stored row becomes row `row`: int64."""
    if IS_ORDERED:
        found = tl.load(order + row, mask=is_row, other=0)
    else:
        found = row.to(tl.int64)
    return found


@triton.jit
def store(out: tl.tensor, place: tl.tensor, numbers: tl.tensor, mask: tl.tensor, IS_BFLOAT16: tl.constexpr) -> None:
    if IS_BFLOAT16:
        tl.store(out + place, to_bfloat16(numbers), mask=mask)
    else:
        tl.store(out + place, numbers, mask=mask)
