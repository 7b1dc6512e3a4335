"""A GPU as copies and kernels see it that nobody waits for: memory, and queues in which work is done in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

from ggufactory_kernels.arrays import memory_errors
from ggufactory_kernels.cuda import driver
from ggufactory_kernels.cuda.launch import Launcher

if TYPE_CHECKING:
    import torch


class Event(Protocol):
    """A place in a queue."""

    def synchronize(self) -> None:
        """Wait until the queue has come so far."""


class Queue(Protocol):
    """What is put in is done in that order, and nobody waits for it."""

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        """One of the two lies in pinned memory; both stay untouched until the copy is done."""

    def record(self) -> Event:
        """The place where the queue ends now."""

    def wait(self, event: Event) -> None:
        """What is put in from now on begins when another queue has come to `event`."""

    def current(self) -> AbstractContextManager[None]:
        """Inside, kernels are put into this queue, and memory is taken for it."""


class Device(Protocol):
    """A GPU of this process, or what stands for one in tests."""

    launcher: Launcher

    def queue(self) -> Queue:
        """A new one."""

    def pinned(self, size: int) -> torch.Tensor:
        """Main memory that the GPU copies from and to by itself: uint8 [size]. MemoryError where there is none."""

    def empty(self, size: int) -> torch.Tensor:
        """The GPU's memory, for the current queue: uint8 [size]. MemoryError where there is none."""

    def enqueue(self, launch: Callable[[], object]) -> None:
        """Put into the current queue what `launch` does with tensors of this device: kernels that are not our own."""

    def release(self) -> None:
        """Give back what is kept for later, so that others may have it."""


class CudaDevice:
    """torch's GPU number `index`. MemoryError where it has no room for another process."""

    def __init__(self, index: int) -> None:
        import torch

        self._device = torch.device("cuda", index)
        with memory_errors():
            torch.empty(1, device=self._device)  # makes the context
        self.launcher: Launcher = driver.gpu(index)

    def queue(self) -> Queue:
        import torch

        return _CudaQueue(torch.cuda.Stream(self._device))  # type: ignore[no-untyped-call]

    def pinned(self, size: int) -> torch.Tensor:
        import torch

        with memory_errors():
            return torch.empty(size, dtype=torch.uint8, pin_memory=True)

    def empty(self, size: int) -> torch.Tensor:
        import torch

        with memory_errors():
            return torch.empty(size, dtype=torch.uint8, device=self._device)

    def enqueue(self, launch: Callable[[], object]) -> None:
        launch()

    def release(self) -> None:
        import torch

        torch.cuda.empty_cache()


class _CudaQueue:
    def __init__(self, stream: torch.cuda.Stream) -> None:
        self._stream = stream

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        with self.current():
            target.copy_(source, non_blocking=True)

    def record(self) -> torch.cuda.Event:
        import torch

        # Whoever waits for it sleeps: the core is for the threads that read and upload.
        event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        event.record(self._stream)
        return event

    def wait(self, event: Event) -> None:
        import torch

        assert isinstance(event, torch.cuda.Event)
        self._stream.wait_event(event)

    @contextmanager
    def current(self) -> Iterator[None]:
        import torch

        with torch.cuda.stream(self._stream):
            yield
