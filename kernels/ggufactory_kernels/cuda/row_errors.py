"""Errors of rows on a GPU: what is stored of them becomes numbers, and is compared with them where they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ggufactory_kernels.cuda.kernels import KERNELS, ROWS_OF_ERRORS
from ggufactory_kernels.cuda.launch import Launcher
from ggufactory_kernels.cuda.tensors import dequantize_tensor, numbers, source_of
from ggufactory_kernels.quantizer import SOURCE_TYPES
from ggufactory_kernels.types import TensorType

if TYPE_CHECKING:
    import torch

_WEIGHTS_AT_ONCE = 1 << 24
"""Twice 64 MiB in single precision, beside what the caller holds."""


def add_row_errors(
    rows: torch.Tensor,
    held: TensorType,
    packed: torch.Tensor,
    stored: TensorType,
    columns: int,
    importance: npt.NDArray[np.float32] | None,
    launcher: Launcher,
) -> torch.Tensor:
    """The sums of `gk.square_errors`: float64 [rows, 2], beside `rows`. The arguments have been checked."""
    import torch

    sums = torch.empty((rows.shape[0], 2), dtype=torch.float64, device=rows.device)
    weights = None if importance is None else torch.from_numpy(importance).to(rows.device)
    step = max(1, _WEIGHTS_AT_ONCE // columns)
    for first in range(0, rows.shape[0], step):
        some = rows[first : first + step].contiguous()
        plain = held.name in SOURCE_TYPES
        x = numbers(some, held.name) if plain else dequantize_tensor(some, held, columns, launcher)
        enqueue_row_errors(x, packed[first : first + step], stored, weights, launcher, sums[first : first + step])
    return sums


def enqueue_row_errors(
    x: torch.Tensor,
    packed: torch.Tensor,
    stored: TensorType,
    importance: torch.Tensor | None,
    launcher: Launcher,
    sums: torch.Tensor,
) -> None:
    """As add_row_errors, into `sums` [rows, 2], and nothing is waited for.

    `x` are plain numbers [rows, columns] whose columns lie side by side, and `packed` is what was made of them;
    `importance` is beside it, float32 [columns]. Takes memory for the weights of `packed` in single precision.
    """
    assert x.shape[0] == packed.shape[0] == sums.shape[0]
    if not x.numel():
        return
    weights = dequantize_tensor(packed, stored, x.shape[1], launcher)
    arguments = source_of(x, x.shape[1])
    arguments.stored, arguments.out = weights.data_ptr(), sums.data_ptr()
    if importance is not None:
        arguments.importance = importance.data_ptr()
    launcher.launch(KERNELS["row_errors"], -(-x.shape[0] // ROWS_OF_ERRORS), arguments)
