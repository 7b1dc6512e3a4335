"""What all decodes have in common: where rows go to, in which order, and in which precision."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ggufactory_kernels.triton_ops.small_floats import to_bfloat16

DTYPES = (torch.float32, torch.bfloat16)


def rows_for(
    shape: tuple[int, int],
    dtype: torch.dtype,
    order: torch.Tensor | None,
    device: torch.device,
    out: torch.Tensor | None,
) -> torch.Tensor:
    """What is decoded into: `out`, or where it is None a new matrix. Its shape is `shape` (rows, columns), with as many
    rows as `order` names where there is one.

    TypeError for a dtype that is not of `DTYPES`, for an order that is not int64 or lies elsewhere, and for an `out` of
    another dtype; ValueError for an order that is no list, and an `out` of another shape.
    """
    if dtype not in DTYPES:
        raise TypeError(f"dtype: wanted float32 or bfloat16, found {dtype}")
    if order is not None and (order.dtype is not torch.int64 or order.device != device):
        raise TypeError(f"order: wanted int64 on {device}, found {order.dtype} on {order.device}")
    if order is not None and order.dim() != 1:
        raise ValueError(f"order: wanted one number for each row, found the shape {list(order.shape)}")
    wanted = (shape[0] if order is None else len(order), shape[1])
    if out is None:
        return torch.empty(wanted, dtype=dtype, device=device)
    if out.dtype is not dtype or out.device != device:
        raise TypeError(f"out: wanted {dtype} on {device}, found {out.dtype} on {out.device}")
    if out.shape != wanted or not out.is_contiguous():
        raise ValueError(f"out: wanted {list(wanted)}, contiguous, found {list(out.shape)}")
    return out


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
