"""dequantize(): packed rows back to single precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from ggufactory_kernels.arrays import is_torch_tensor, packed_bytes
from ggufactory_kernels.types import tensor_type

if TYPE_CHECKING:
    import torch


@overload
def dequantize(
    packed: torch.Tensor, type: str, columns: int, threads: int = 1, *, isa: str | None = None
) -> torch.Tensor: ...
@overload
def dequantize(
    packed: npt.NDArray[np.uint8], type: str, columns: int, threads: int = 1, *, isa: str | None = None
) -> npt.NDArray[np.float32]: ...
def dequantize(packed: Any, type: str, columns: int, threads: int = 1, *, isa: str | None = None) -> Any:
    """The weights that rows of tensor type `type` stand for: float32 [rows, columns].

    `packed` is uint8 [rows, bytes per row], a NumPy array or torch tensor; the result is of the same
    library. Any bytes are some weights: where a stored scale is infinite or NaN, so are they. The result
    does not depend on `threads`, nor on `isa`, which forces an instruction set. ValueError for an unknown
    type, a wrong shape or an unavailable instruction set; TypeError for wrong dtypes.
    """
    source = tensor_type(type)
    if threads < 1:
        raise ValueError(f"threads must be at least 1, found {threads}")
    flat, rows = packed_bytes(packed, source.row_bytes(columns), source.name)
    from ggufactory_kernels import cpu

    out = np.empty((rows, columns), np.float32)
    cpu.dequantize_rows(flat, source, out.reshape(-1), threads, isa)
    if not is_torch_tensor(packed):
        return out
    import torch

    return torch.from_numpy(out)
