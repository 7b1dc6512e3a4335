"""What the CUDA tests run on: a GPU where there is one, and everywhere the kernels' source on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from emulated_cuda import EmulatedGpu

from ggufactory_kernels import TENSOR_TYPES
from ggufactory_kernels.cuda.launch import Launcher
from ggufactory_kernels.cuda.tensors import dequantize_tensor, quantize_tensor

_POISON, _GUARD = 0xA5, 256


@dataclass(frozen=True, slots=True)
class Machine:
    """Where tensors lie, and who launches kernels on them."""

    device: str
    launcher: Launcher

    @property
    def emulated(self) -> EmulatedGpu | None:
        return self.launcher if isinstance(self.launcher, EmulatedGpu) else None

    def tensor(self, x: Any) -> torch.Tensor:
        return torch.as_tensor(x).to(self.device)

    def like(self, view: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
        """`view` of `whole` on this machine, with the same distances in its memory."""
        return self.tensor(whole).as_strided(view.shape, view.stride(), view.storage_offset())

    def quantize(self, x: Any, type: str, importance: npt.NDArray[np.float32] | None = None) -> npt.NDArray[np.uint8]:
        """Into memory that held other bytes before; nothing beside it may change."""
        with _poisoned_memory() as check:
            packed = quantize_tensor(self.tensor(x), TENSOR_TYPES[type], importance, self.launcher)
            check()
        return packed.cpu().numpy()

    def dequantize(self, packed: Any, type: str, columns: int) -> npt.NDArray[np.float32]:
        with _poisoned_memory() as check:
            weights = dequantize_tensor(self.tensor(packed), TENSOR_TYPES[type], columns, self.launcher)
            check()
        return weights.cpu().numpy()


@contextmanager
def _poisoned_memory() -> Iterator[Any]:
    """torch.empty() gives memory full of other bytes, with more of them behind it, that are looked at again."""
    guards: list[torch.Tensor] = []

    def empty(*size: Any, dtype: torch.dtype, device: Any) -> torch.Tensor:
        shape = torch.Size(size[0] if isinstance(size[0], tuple) else size)
        used = shape.numel() * dtype.itemsize
        whole = torch.full((used + _GUARD,), _POISON, dtype=torch.uint8, device=device)
        guards.append(whole[used:])
        return whole[:used].view(dtype).reshape(shape)

    def check() -> None:
        assert guards
        assert all(bool((guard == _POISON).all()) for guard in guards), "bytes behind the output were written"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "empty", empty)
        yield check
