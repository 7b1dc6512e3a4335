"""Where the GPU's benchmarks run: what they ask of a GPU, and the GPU of this machine."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

import ggufactory_kernels as gk

WARM_UP = 3
"""Calls that do not count: the first compile, and load what was compiled."""


@dataclass(frozen=True, slots=True)
class Facts:
    """`clock` in hertz, as high as it can be; `driver`: the CUDA release that it knows."""

    name: str
    multiprocessors: int
    clock: float
    memory: int
    driver: str


class Bench(Protocol):
    """A GPU, or what stands for one in a test. `device`: where its tensors lie."""

    device: str

    def facts(self) -> Facts: ...

    def pinned(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Main memory that the GPU copies from and to by itself."""

    def quantize(self, x: torch.Tensor, type_: str, importance: np.ndarray | None) -> torch.Tensor: ...

    def dequantize(self, packed: torch.Tensor, type_: str, columns: int) -> torch.Tensor: ...

    def seconds(self, call: Callable[[], object], rounds: int) -> float:
        """What `call` takes on the GPU: the median of `rounds`, after a warm-up."""


class CudaBench:
    """torch's current GPU."""

    device = "cuda"

    def facts(self) -> Facts:
        from cuda.bindings import driver

        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        attribute = driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_CLOCK_RATE
        kilohertz = _answer(driver.cuDeviceGetAttribute(attribute, torch.cuda.current_device()), "clock")
        release = _answer(driver.cuDriverGetVersion(), "driver")
        return Facts(
            properties.name,
            properties.multi_processor_count,
            kilohertz * 1e3,
            properties.total_memory,
            f"{release // 1000}.{release % 1000 // 10}",
        )

    def pinned(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(tuple(shape), dtype=dtype, pin_memory=True)

    def quantize(self, x: torch.Tensor, type_: str, importance: np.ndarray | None) -> torch.Tensor:
        return gk.quantize(x, type_, importance, device="cuda")

    def dequantize(self, packed: torch.Tensor, type_: str, columns: int) -> torch.Tensor:
        return gk.dequantize(packed, type_, columns, device="cuda")

    def seconds(self, call: Callable[[], object], rounds: int) -> float:
        """By the GPU's own events."""
        for _ in range(WARM_UP):
            call()
        times = []
        for _ in range(rounds):
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            call()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) / 1e3)
        return statistics.median(times)


def copy_bandwidth(bench: Bench, size: int, rounds: int) -> float:
    """Bytes read and written per second by a copy of `size` bytes on the GPU."""
    source = torch.empty(size, dtype=torch.uint8, device=bench.device)
    target = torch.empty_like(source)
    return 2 * size / bench.seconds(lambda: target.copy_(source), rounds)


def _answer(found: tuple[Any, int], what: str) -> int:
    result, number = found
    if int(result) != 0:
        raise SystemExit(f"the GPU's {what}: {result}")
    return number
