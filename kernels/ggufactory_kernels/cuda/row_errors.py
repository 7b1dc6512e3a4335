"""Errors of rows on a GPU: dequantized some rows at a time, and added up by torch in double precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ggufactory_kernels.cuda.launch import Launcher
from ggufactory_kernels.cuda.tensors import dequantize_tensor
from ggufactory_kernels.types import TensorType

if TYPE_CHECKING:
    import torch

_WEIGHTS_AT_ONCE = 1 << 22
"""Some hundred megabytes in double precision, beside what the caller holds."""


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
    weights = None if importance is None else torch.from_numpy(importance).to(rows.device).double()
    step = max(1, _WEIGHTS_AT_ONCE // columns)
    for first in range(0, rows.shape[0], step):
        x = dequantize_tensor(rows[first : first + step], held, columns, launcher).double()
        errors = dequantize_tensor(packed[first : first + step], stored, columns, launcher).double().sub_(x)
        for place, values in enumerate((errors, x)):
            squares = values.square_()
            weighted = squares if weights is None else squares.mul_(weights)
            torch.sum(weighted, dim=1, out=sums[first : first + step, place])
    return sums
