"""quantize() and quantize_into(): check the arguments, pick the backend.

Backends are imported when they are picked, so that the table of types can be read where nothing is
compiled, and torch is imported only by callers who pass a tensor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from ggufactory_kernels.arrays import buffer_bytes, importance_values, is_torch_tensor, weight_bytes
from ggufactory_kernels.types import TensorType, tensor_type

if TYPE_CHECKING:
    import torch
    from typing_extensions import Buffer

SOURCE_TYPES = ("F32", "F16", "BF16")
"""What rows of weights may be made of; each value is converted exactly to single precision first."""


@overload
def quantize(
    x: torch.Tensor,
    type: str,
    importance: Any = None,
    threads: int = 1,
    device: str = "cpu",
    *,
    isa: str | None = None,
) -> torch.Tensor: ...
@overload
def quantize(
    x: npt.NDArray[Any],
    type: str,
    importance: Any = None,
    threads: int = 1,
    device: str = "cpu",
    *,
    isa: str | None = None,
) -> npt.NDArray[np.uint8]: ...
def quantize(
    x: Any,
    type: str,
    importance: Any = None,
    threads: int = 1,
    device: str = "cpu",
    *,
    isa: str | None = None,
) -> Any:
    """The bytes of `x` [rows, columns] as tensor type `type`: uint8 [rows, bytes per row].

    `x` is a NumPy array or torch tensor of float32, float16 or bfloat16; the result is of the same library.
    `importance` (float32 [columns], finite, not negative) weighs the errors; types that do not use it
    ignore it. The bytes do not depend on `threads`, nor on `isa`, which forces an instruction set.
    ValueError for an unknown type, a wrong shape, a value that is not finite, a scale that overflows half
    precision, errors too large for an IQ type's search, or an unavailable device or instruction set;
    TypeError for wrong dtypes.
    """
    target = tensor_type(type)
    source, source_type, rows, columns = weight_bytes(x)
    out = np.empty((rows, target.row_bytes(columns)), np.uint8)
    _quantize(source, source_type, target, columns, out.reshape(-1), importance, threads, device, isa)
    if not is_torch_tensor(x):
        return out
    import torch

    return torch.from_numpy(out)


def quantize_into(
    source: Buffer,
    source_type: str,
    type: str,
    columns: int,
    out: Buffer,
    importance: Any = None,
    threads: int = 1,
    *,
    isa: str | None = None,
) -> None:
    """Quantize rows that lie in `source` as raw "F32", "F16" or "BF16" numbers; write them to `out`.

    Both are C-contiguous buffers of any alignment; nothing is copied. `out` has exactly as many bytes as
    the rows of `source` take. Otherwise as `quantize`.
    """
    if source_type not in SOURCE_TYPES:
        raise ValueError(f"source type {source_type!r}: weights are read from {', '.join(SOURCE_TYPES)}")
    target, given = tensor_type(type), tensor_type(source_type)
    from_bytes, to_bytes = buffer_bytes(source, "source"), buffer_bytes(out, "out", writable=True)
    row_bytes, target_row_bytes = given.row_bytes(columns), target.row_bytes(columns)
    rows, rest = divmod(from_bytes.size, row_bytes)
    if rest:
        raise ValueError(
            f"source: {from_bytes.size} bytes are no whole number of rows of {columns} {source_type} numbers"
        )
    if to_bytes.size != rows * target_row_bytes:
        raise ValueError(
            f"out: {rows} rows of {columns} {type} weights take {rows * target_row_bytes} bytes, found {to_bytes.size}"
        )
    _quantize(from_bytes, source_type, target, columns, to_bytes, importance, threads, "cpu", isa)


def quantizable(type: str) -> bool:
    """Whether this build has a kernel for the tensor type. ValueError where there is no such type."""
    from ggufactory_kernels import cpu

    return tensor_type(type).name in cpu.KERNEL_TYPES


def _quantize(
    source: npt.NDArray[np.uint8],
    source_type: str,
    target: TensorType,
    columns: int,
    out: npt.NDArray[np.uint8],
    importance: Any,
    threads: int,
    device: str,
    isa: str | None,
) -> None:
    if device not in ("cpu", "auto"):
        raise ValueError(f"device {device!r} is not available: this build quantizes on the CPU ('cpu', 'auto')")
    if threads < 1:
        raise ValueError(f"threads must be at least 1, found {threads}")
    weights = None if importance is None else importance_values(importance, columns)
    if weights is None and target.needs_importance:
        raise ValueError(f"{target.name} needs an importance matrix")
    from ggufactory_kernels import cpu

    cpu.quantize_rows(source, source_type, target, columns, out, weights, threads, isa)
