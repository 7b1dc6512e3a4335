"""square_errors(): how far packed rows are from the rows that they were packed from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from ggufactory_kernels import backends
from ggufactory_kernels.arrays import (
    importance_values,
    is_torch_tensor,
    lies_on_gpu,
    memory_errors,
    packed_bytes,
    packed_on_gpu,
)
from ggufactory_kernels.types import TensorType, tensor_type

if TYPE_CHECKING:
    import torch


@overload
def square_errors(
    rows: torch.Tensor,
    source_type: str,
    packed: torch.Tensor,
    type: str,
    columns: int,
    importance: Any = None,
    threads: int = 1,
    device: str = "cpu",
    *,
    isa: str | None = None,
) -> torch.Tensor: ...
@overload
def square_errors(
    rows: npt.NDArray[np.uint8],
    source_type: str,
    packed: npt.NDArray[np.uint8],
    type: str,
    columns: int,
    importance: Any = None,
    threads: int = 1,
    device: str = "cpu",
    *,
    isa: str | None = None,
) -> npt.NDArray[np.float64]: ...
def square_errors(
    rows: Any,
    source_type: str,
    packed: Any,
    type: str,
    columns: int,
    importance: Any = None,
    threads: int = 1,
    device: str = "cpu",
    *,
    isa: str | None = None,
) -> Any:
    """Of each row two sums, over its columns, of w (x - y)² and of w x²: float64 [rows, 2].

    x are the weights in `rows`, of tensor type `source_type`, and y those in `packed`, of `type`: both uint8
    [rows, bytes per row], NumPy arrays or torch tensors; the result is of the library of `rows`. w is
    `importance` (float32 [columns], finite, not negative), 1 where it is None. A row's sums depend on that row
    alone; not on `threads`, `isa` or `device` (as of `quantize`), bit by bit.
    ValueError for unknown types, wrong shapes or an unavailable device or instruction set; TypeError for wrong
    dtypes; MemoryError where a GPU is full.
    """
    held, stored = tensor_type(source_type), tensor_type(type)
    if threads < 1:
        raise ValueError(f"threads must be at least 1, found {threads}")
    given = importance.cpu() if lies_on_gpu(importance) else importance
    weights = None if given is None else importance_values(given, columns)
    if backends.choose(device, on_gpu=lies_on_gpu(rows)) == "cuda":
        return _square_errors_on_gpu(rows, held, packed, stored, columns, weights, isa)
    from_bytes, count = packed_bytes(rows, held.row_bytes(columns), held.name)
    to_bytes, packed_count = packed_bytes(packed, stored.row_bytes(columns), stored.name)
    _check_counts(count, packed_count)
    from ggufactory_kernels import cpu

    out = np.empty((count, 2), np.float64)
    cpu.square_error_rows(from_bytes, held, to_bytes, stored, columns, weights, out.reshape(-1), threads, isa)
    if not is_torch_tensor(rows):
        return out
    import torch

    return torch.from_numpy(out)


def _square_errors_on_gpu(
    rows: Any,
    held: TensorType,
    packed: Any,
    stored: TensorType,
    columns: int,
    importance: npt.NDArray[np.float32] | None,
    isa: str | None,
) -> Any:
    """The result is beside `rows`, or where that is an array, an array."""
    for type_ in (held, stored):
        backends.require_cuda(type_.name, isa)
    from ggufactory_kernels import cuda

    with memory_errors():
        given = packed_on_gpu(rows, held.row_bytes(columns), held.name)
        made = packed_on_gpu(packed, stored.row_bytes(columns), stored.name)
        _check_counts(given.shape[0], made.shape[0])
        sums = cuda.square_errors(given, held, made, stored, columns, importance)
    if lies_on_gpu(rows):
        return sums
    return sums.cpu() if is_torch_tensor(rows) else sums.cpu().numpy()


def _check_counts(rows: int, packed: int) -> None:
    if rows != packed:
        raise ValueError(f"each row has its packed row: found {rows} and {packed}")
