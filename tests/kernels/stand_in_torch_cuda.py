"""What stands for the parts of torch.cuda that device.py uses, which a build of PyTorch for CPUs does not have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest
import torch


class Stream:
    """torch.cuda.Stream: what is put in is done at once."""

    current: ClassVar[list[Stream]] = []

    def __init__(self, device: torch.device) -> None:
        assert device == torch.device("cuda", 0)
        self.cuda_stream = id(self)
        self.waited_for: list[Stream] = []

    def wait_event(self, event: Event) -> None:
        assert event.recorded is not None
        self.waited_for.append(event.recorded)


class Event:
    """torch.cuda.Event."""

    def __init__(self, *, blocking: bool = False) -> None:
        assert blocking, "whoever waits sleeps"
        self.recorded: Stream | None = None

    def record(self, stream: Stream) -> None:
        self.recorded = stream

    def synchronize(self) -> None:
        assert self.recorded is not None


@contextmanager
def inside(stream: Stream) -> Iterator[None]:
    """torch.cuda.stream()."""
    Stream.current.append(stream)
    try:
        yield
    finally:
        Stream.current.pop()


def replace_torch_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors of a GPU lie in main memory."""
    taken = torch.empty

    def empty(*size: Any, dtype: torch.dtype = torch.float32, device: Any = None, pin_memory: bool = False) -> Any:
        assert device is None or torch.device(device).type in ("cpu", "cuda")
        return taken(*size, dtype=dtype)

    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "stream", inside)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda index: Stream.current[-1])
