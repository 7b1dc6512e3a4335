"""NumPy arrays, torch tensors and buffers as the flat bytes that backends take."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch
    from typing_extensions import Buffer

_SOURCE_TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


def is_torch_tensor(x: object) -> bool:
    """Without importing torch: who passes a tensor has imported it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def lies_on_gpu(x: object) -> bool:
    """Whether `x` is a torch tensor in the memory of a CUDA device."""
    if not is_torch_tensor(x):
        return False
    device: str = x.device.type  # type: ignore[attr-defined]
    return device == "cuda"


def on_gpu(x: Any, dtypes: tuple[str, ...], what: str) -> torch.Tensor:
    """A tensor or array [rows, ...] as a tensor on a GPU: itself, or a copy on the current one."""
    import torch

    if not isinstance(x, np.ndarray) and not is_torch_tensor(x):
        raise TypeError(f"{what} are a NumPy array or a torch tensor, found {type(x).__name__}")
    dtype = str(x.dtype).removeprefix("torch.")
    if dtype not in dtypes:
        raise TypeError(f"{what} are {', '.join(dtypes)}, found {dtype}")
    if x.ndim != 2:
        raise ValueError(f"{what} have the shape [rows, columns], found {list(x.shape)}")
    tensor: torch.Tensor = torch.from_numpy(np.ascontiguousarray(x)) if isinstance(x, np.ndarray) else x.detach()
    return tensor if lies_on_gpu(tensor) else tensor.to("cuda")


@contextmanager
def memory_errors() -> Iterator[None]:
    """torch's errors of a full GPU, also of one with no room for this process's own context, become MemoryError."""
    try:
        yield
    except RuntimeError as error:
        if "out of memory" not in str(error):
            raise
        raise MemoryError(f"the GPU is full: {str(error).splitlines()[0]}") from error


def weight_bytes(x: Any) -> tuple[npt.NDArray[np.uint8], str, int, int]:
    """Raw bytes of weights [rows, columns], their type ("F32", "F16", "BF16"), rows and columns.

    Copied only where the rows do not already lie one after the other.
    """
    if not isinstance(x, np.ndarray) and not is_torch_tensor(x):
        raise TypeError(f"weights are a NumPy array or a torch tensor, found {type(x).__name__}")
    if x.ndim != 2:
        raise ValueError(f"weights have the shape [rows, columns], found {list(x.shape)}")
    rows, columns = x.shape
    dtype = str(x.dtype).removeprefix("torch.")
    if dtype not in _SOURCE_TYPES:
        raise TypeError(f"weights are float32, float16 or bfloat16, found {dtype}")
    return _flat_bytes(x), _SOURCE_TYPES[dtype], int(rows), int(columns)


def packed_bytes(packed: Any, row_bytes: int, what: str) -> tuple[npt.NDArray[np.uint8], int]:
    """Rows of packed blocks [rows, row_bytes] as flat bytes, and how many rows. `what` names the type."""
    if not isinstance(packed, np.ndarray) and not is_torch_tensor(packed):
        raise TypeError(f"packed rows are a NumPy array or a torch tensor, found {type(packed).__name__}")
    dtype = str(packed.dtype).removeprefix("torch.")
    if dtype != "uint8":
        raise TypeError(f"packed rows are uint8, found {dtype}")
    if packed.ndim != 2 or packed.shape[1] != row_bytes:
        raise ValueError(f"packed {what} rows have the shape [rows, {row_bytes}], found {list(packed.shape)}")
    return _flat_bytes(packed), int(packed.shape[0])


def packed_on_gpu(packed: Any, row_bytes: int, what: str) -> torch.Tensor:
    """Rows of packed blocks [rows, row_bytes] on a GPU: themselves, or a copy. `what` names the type."""
    tensor = on_gpu(packed, ("uint8",), "packed rows")
    if tensor.shape[1] != row_bytes:
        raise ValueError(f"packed {what} rows have the shape [rows, {row_bytes}], found {list(tensor.shape)}")
    return tensor


def importance_values(importance: Any, columns: int) -> npt.NDArray[np.float32]:
    """Importance as a contiguous array, checked: float32 [columns], finite, not negative."""
    if str(getattr(importance, "dtype", None)).removeprefix("torch.") != "float32":
        raise TypeError("importance is a float32 array or tensor of one value per column")
    if tuple(importance.shape) != (columns,):
        raise ValueError(f"importance has one value for each of {columns} columns, found {list(importance.shape)}")
    values = _flat_bytes(importance).view(np.float32)
    if not values.flags.aligned:
        values = values.copy()
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        column = int(np.argmax(wrong))
        raise ValueError(f"importance is finite and not negative, found {values[column]} in column {column}")
    return values


def buffer_bytes(buffer: Buffer, what: str, *, writable: bool = False) -> npt.NDArray[np.uint8]:
    """The bytes of a buffer, not copied."""
    try:
        view = memoryview(buffer)
    except TypeError:
        raise TypeError(f"{what} is an object with a buffer, found {type(buffer).__name__}") from None
    if not view.c_contiguous:
        raise ValueError(f"{what} is not C-contiguous")
    if writable and view.readonly:
        raise ValueError(f"{what} is read-only")
    return np.frombuffer(view, np.uint8) if view.nbytes else np.empty(0, np.uint8)


def _flat_bytes(x: Any) -> npt.NDArray[np.uint8]:
    if isinstance(x, np.ndarray):
        return np.ascontiguousarray(x).reshape(-1).view(np.uint8)
    if x.device.type != "cpu":
        raise ValueError(f"device 'cpu' works in main memory, found a tensor on {x.device}: ask for 'cuda' or 'auto'")
    import torch

    flat: npt.NDArray[np.uint8] = x.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
    return flat
