"""quantize() and quantize_into(): check the arguments, pick the backend.

A tensor on a GPU is quantized there; `device="cuda"` also sends there what lies in main memory.

Backends are imported when they are picked, so that the table of types can be read where nothing is
compiled, and torch is imported only by callers who pass a tensor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from ggufactory_kernels import backends
from ggufactory_kernels.arrays import (
    buffer_bytes,
    importance_values,
    is_torch_tensor,
    lies_on_gpu,
    memory_errors,
    on_gpu,
    weight_bytes,
)
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
    ignore it. The bytes do not depend on `threads`, on `isa`, which forces an instruction set, nor on `device`:
    "cpu"; "cuda", which sends there what lies in main memory, and whose result comes back to where `x` is;
    or "auto", wherever `x` lies. On a GPU the rows of `x` may lie any distance apart.
    ValueError for an unknown type, a wrong shape, a value that is not finite, a scale that overflows half
    precision, errors too large for an IQ type's search, or an unavailable device or instruction set;
    TypeError for wrong dtypes; MemoryError where a GPU is full.
    """
    target = tensor_type(type)
    if backends.choose(device, on_gpu=lies_on_gpu(x)) == "cuda":
        return _quantize_on_gpu(x, target, importance, isa)
    source, source_type, rows, columns = weight_bytes(x)
    out = np.empty((rows, target.row_bytes(columns)), np.uint8)
    _quantize(source, source_type, target, columns, out.reshape(-1), importance, threads, isa)
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
    device: str = "cpu",
    *,
    isa: str | None = None,
) -> None:
    """Quantize rows that lie in `source` as raw "F32", "F16" or "BF16" numbers; write them to `out`.

    Both are C-contiguous buffers of any alignment; nothing is copied but to a GPU and back. `out` has exactly
    as many bytes as the rows of `source` take. Otherwise as `quantize`; "auto" is the CPU.
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
    if backends.choose(device, on_gpu=False) == "cuda":
        packed = _quantize_on_gpu(_numbers(from_bytes, source_type, columns), target, importance, isa)
        to_bytes[:] = packed.cpu().numpy().reshape(-1)
        return
    _quantize(from_bytes, source_type, target, columns, to_bytes, importance, threads, isa)


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
    isa: str | None,
) -> None:
    if threads < 1:
        raise ValueError(f"threads must be at least 1, found {threads}")
    weights = importance_for(target, importance, columns)
    from ggufactory_kernels import cpu

    cpu.quantize_rows(source, source_type, target, columns, out, weights, threads, isa)


def _quantize_on_gpu(x: Any, target: TensorType, importance: Any, isa: str | None) -> Any:
    """The result is beside `x`, or where `x` is an array, an array."""
    backends.require_cuda(target.name, isa)
    from ggufactory_kernels import cuda

    with memory_errors():
        tensor = on_gpu(x, ("float32", "float16", "bfloat16"), "weights")
        packed = cuda.quantize(tensor, target, importance_for(target, importance, tensor.shape[1]))
    if lies_on_gpu(x):
        return packed
    return packed.cpu() if is_torch_tensor(x) else packed.cpu().numpy()


def importance_for(target: TensorType, importance: Any, columns: int) -> npt.NDArray[np.float32] | None:
    """`importance` as the kernels of `target` take it: checked, contiguous. ValueError, TypeError as of `quantize`."""
    if importance is None:
        if target.needs_importance:
            raise ValueError(f"{target.name} needs an importance matrix")
        return None
    return importance_values(importance.cpu() if lies_on_gpu(importance) else importance, columns)


def _numbers(raw: npt.NDArray[np.uint8], source_type: str, columns: int) -> torch.Tensor:
    """Raw rows as a tensor of numbers [rows, columns]."""
    import torch

    dtype = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[source_type]
    # A copy where the numbers are not aligned, or the buffer could not be written to.
    whole = raw if raw.ctypes.data % 4 == 0 and raw.flags.writeable else raw.copy()
    return torch.from_numpy(whole).view(dtype).reshape(-1, columns)
