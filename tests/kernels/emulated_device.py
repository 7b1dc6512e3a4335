"""A GPU with queues of its own, in main memory: what is put into a queue is done at once, or as late as it may be.

Whoever forgets to wait for something is found out by a queue that is late: bytes are still missing, or are
overwritten before they were copied. Its memory may be small; what it holds at most is counted.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from emulated_cuda import EmulatedGpu

from ggufactory_kernels.cuda.device import Event, Queue
from ggufactory_kernels.cuda.kernels import Kernel
from ggufactory_kernels.cuda.launch import Launch, Launcher

_POISON = 0xA5


def _nothing() -> None:
    """In the place of what has been done, so that its memory goes."""


class EmulatedDevice:
    """`late`: the numbers of the queues that do nothing before somebody waits for it."""

    def __init__(self, library: Path, late: frozenset[int] = frozenset(), memory: int | None = None) -> None:
        self.launcher: Launcher = self
        self.late = late
        self.memory = memory
        self.held = self.peak = 0
        self.released = 0
        self.copied_to_device = 0
        self.launched: list[str] = []
        self.enqueued = 0
        self._gpu = EmulatedGpu(library)
        self._queues: list[EmulatedQueue] = []
        self._kept: list[torch.Tensor] = []
        self._pinned: set[int] = set()
        self.pinned_bytes = 0
        self.inside: EmulatedQueue | None = None

    def queue(self) -> Queue:
        self._queues.append(EmulatedQueue(self, late=len(self._queues) in self.late))
        return self._queues[-1]

    def pinned(self, size: int) -> torch.Tensor:
        found = torch.from_numpy(np.full(size, _POISON, np.uint8))
        self._pinned.add(found.data_ptr())
        self.pinned_bytes += size
        return found

    def empty(self, size: int) -> torch.Tensor:
        assert self.inside is not None, "memory is taken for a queue"
        if self.memory is not None and self.held + size > self.memory:
            raise MemoryError(f"{size} bytes wanted, {self.held} of {self.memory} held")
        array = np.full(size, _POISON, np.uint8)
        self.held += size
        self.peak = max(self.peak, self.held)
        weakref.finalize(array, self._free, size)
        found = torch.from_numpy(array)
        if self.late:
            self._kept.append(found)  # a GPU's memory, once free, is used again in the queue's order
        return found

    def release(self) -> None:
        self.released += 1

    def launch(self, kernel: Kernel, thread_blocks: int, arguments: Launch) -> None:
        assert self.inside is not None, "kernels are put into a queue"
        self.launched.append(kernel.name)
        copy = Launch.from_buffer_copy(arguments)
        self.inside.put(lambda: self._gpu.launch(kernel, thread_blocks, copy))

    def enqueue(self, launch: Callable[[], object]) -> None:
        assert self.inside is not None, "kernels are put into a queue"
        self.enqueued += 1
        self.inside.put(launch)

    def is_pinned(self, tensor: torch.Tensor) -> bool:
        return tensor.untyped_storage().data_ptr() in self._pinned

    def _free(self, size: int) -> None:
        self.held -= size


class EmulatedQueue:
    def __init__(self, device: EmulatedDevice, *, late: bool) -> None:
        self._device = device
        self._late = late
        self._work: list[Callable[[], object]] = []
        self._done = 0

    def put(self, work: Callable[[], object]) -> None:
        self._work.append(work)
        if not self._late:
            self.run(len(self._work))

    def run(self, until: int) -> None:
        while self._done < until:
            work, self._work[self._done] = self._work[self._done], _nothing
            self._done += 1
            work()

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        device = self._device
        assert device.is_pinned(target) != device.is_pinned(source)
        device.copied_to_device += source.numel() if device.is_pinned(source) else 0
        self.put(lambda: target.copy_(source))

    def record(self) -> EmulatedEvent:
        return EmulatedEvent(self, len(self._work))

    def wait(self, event: Event) -> None:
        self.put(event.synchronize)

    @contextmanager
    def current(self) -> Iterator[None]:
        before, self._device.inside = self._device.inside, self
        try:
            yield
        finally:
            self._device.inside = before


class EmulatedEvent:
    def __init__(self, queue: EmulatedQueue, place: int) -> None:
        self._queue = queue
        self._place = place

    def synchronize(self) -> None:
        self._queue.run(self._place)


@contextmanager
def torch_memory_of(device: EmulatedDevice) -> Iterator[None]:
    """torch.empty() and torch.full() take the device's memory, as they do where tensors lie on a GPU."""

    def empty(*size: Any, dtype: torch.dtype, device: object = None) -> torch.Tensor:
        shape = torch.Size(size[0] if isinstance(size[0], tuple) else size)
        return taken(shape.numel() * dtype.itemsize).view(dtype).reshape(shape)

    def full(size: tuple[int, ...], value: int, *, dtype: torch.dtype, device: object = None) -> torch.Tensor:
        return empty(size, dtype=dtype).fill_(value)

    taken = device.empty
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "empty", empty)
        patch.setattr(torch, "full", full)
        yield
