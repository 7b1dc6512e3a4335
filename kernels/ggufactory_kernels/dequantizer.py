"""dequantize(): packed rows back to single precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from ggufactory_kernels import backends
from ggufactory_kernels.arrays import is_torch_tensor, lies_on_gpu, memory_errors, packed_bytes, packed_on_gpu
from ggufactory_kernels.types import TensorType, tensor_type

if TYPE_CHECKING:
    import torch


@overload
def dequantize(
    packed: torch.Tensor, type: str, columns: int, threads: int = 1, device: str = "cpu", *, isa: str | None = None
) -> torch.Tensor: ...
@overload
def dequantize(
    packed: npt.NDArray[np.uint8],
    type: str,
    columns: int,
    threads: int = 1,
    device: str = "cpu",
    *,
    isa: str | None = None,
) -> npt.NDArray[np.float32]: ...
def dequantize(
    packed: Any, type: str, columns: int, threads: int = 1, device: str = "cpu", *, isa: str | None = None
) -> Any:
    """The weights that rows of tensor type `type` stand for: float32 [rows, columns].

    `packed` is uint8 [rows, bytes per row], a NumPy array or torch tensor; the result is of the same
    library. Any bytes are some weights: where a stored scale is infinite or NaN, so are they. The result
    does not depend on `threads`, on `isa`, which forces an instruction set, nor on `device`, as of `quantize`.
    ValueError for an unknown type, a wrong shape or an unavailable device or instruction set; TypeError for
    wrong dtypes.
    """
    source = tensor_type(type)
    if threads < 1:
        raise ValueError(f"threads must be at least 1, found {threads}")
    if backends.choose(device, on_gpu=lies_on_gpu(packed)) == "cuda":
        return _dequantize_on_gpu(packed, source, columns, isa)
    flat, rows = packed_bytes(packed, source.row_bytes(columns), source.name)
    from ggufactory_kernels import cpu

    out = np.empty((rows, columns), np.float32)
    cpu.dequantize_rows(flat, source, out.reshape(-1), threads, isa)
    if not is_torch_tensor(packed):
        return out
    import torch

    return torch.from_numpy(out)


def _dequantize_on_gpu(packed: Any, source: TensorType, columns: int, isa: str | None) -> Any:
    """The result is beside `packed`, or where that is an array, an array."""
    backends.require_cuda(source.name, isa)
    from ggufactory_kernels import cuda

    with memory_errors():
        tensor = packed_on_gpu(packed, source.row_bytes(columns), source.name)
        weights = cuda.dequantize(tensor, source, columns)
    if lies_on_gpu(packed):
        return weights
    return weights.cpu() if is_torch_tensor(packed) else weights.cpu().numpy()
