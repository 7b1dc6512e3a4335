"""The CUDA backend: the CPU's kernels, compiled for GPUs at first use (extra `cuda`).

Everything but running is possible without a GPU: `compiler.py` needs NVRTC alone, and `tensors.py` runs
on whoever launches kernels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ggufactory_kernels.cuda import driver
from ggufactory_kernels.cuda.kernels import KERNEL_TYPES
from ggufactory_kernels.types import TensorType

if TYPE_CHECKING:
    import torch

__all__ = ["KERNEL_TYPES", "dequantize", "missing", "quantize", "square_errors"]


def missing() -> str | None:
    """What is missing for quantizing on a GPU here, with how to get it; None where nothing is."""
    return driver.missing()


def quantize(x: torch.Tensor, target: TensorType, importance: npt.NDArray[np.float32] | None) -> torch.Tensor:
    """As `gk.quantize` of a tensor on a GPU, on the current stream; the result is beside it."""
    from ggufactory_kernels.cuda.tensors import quantize_tensor

    return quantize_tensor(x, target, importance, driver.gpu(_number(x)))


def dequantize(packed: torch.Tensor, source: TensorType, columns: int) -> torch.Tensor:
    """As `gk.dequantize` of a tensor on a GPU, on the current stream; the result is beside it."""
    from ggufactory_kernels.cuda.tensors import dequantize_tensor

    return dequantize_tensor(packed, source, columns, driver.gpu(_number(packed)))


def square_errors(
    rows: torch.Tensor,
    held: TensorType,
    packed: torch.Tensor,
    stored: TensorType,
    columns: int,
    importance: npt.NDArray[np.float32] | None,
) -> torch.Tensor:
    """As `gk.square_errors` of tensors on a GPU, on the current stream; the result is beside `rows`."""
    from ggufactory_kernels.cuda.row_errors import add_row_errors

    return add_row_errors(rows, held, packed, stored, columns, importance, driver.gpu(_number(rows)))


def _number(tensor: Any) -> int:
    number: int | None = tensor.device.index
    return number or 0
