"""Bytes to a GPU and back through pinned buffers that a process makes once and uses for all its tensors.

A GPU copies pinned memory by itself, and while it does, kernels run and this process does something else.
Pinning takes longer than copying, and pinned memory is nobody else's: there are two small buffers for each way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ggufactory_kernels.cuda.device import CudaDevice, Device, Event

if TYPE_CHECKING:
    import torch

BUFFER_BYTES = 8 << 20
BUFFERS = 2
"""For each way: one is copied by the GPU while the other is filled or emptied here."""

ALIGNMENT = 16
"""Of what is sent together; no kind of number asks for more."""

_Bytes = npt.NDArray[np.uint8]


class Courier:
    """Carries bytes for one thread. `work`: the queue of what is sent and of the kernels that use it."""

    def __init__(self, device: Device, buffer_bytes: int = BUFFER_BYTES) -> None:
        self.device = device
        self.work = device.queue()
        self._back = device.queue()
        self._sent = [_Buffer(device.pinned(buffer_bytes)) for _ in range(BUFFERS)]
        self._fetched = [_Buffer(device.pinned(buffer_bytes)) for _ in range(BUFFERS)]

    def send(self, source: _Bytes, target: torch.Tensor) -> None:
        """Put `source` [bytes] into `target` on the GPU, for what `work` does next. `source` may change at once."""
        self.send_together((source,), target)

    def send_together(self, sources: Sequence[_Bytes], target: torch.Tensor) -> list[torch.Tensor]:
        """The same of several, in one journey; `target` has `bytes_together` of them. What each became there, at a
        multiple of `ALIGNMENT`, so that it may be viewed as any kind of number."""
        begins = _begins(sources)
        ends = [begin + source.size for begin, source in zip(begins, sources, strict=True)]
        for begin, stop in _chunks(ends[-1], self._sent[0].size):
            buffer = self._sent[0]
            buffer.wait()
            for source, first, end in zip(sources, begins, ends, strict=True):
                from_, to = max(begin, first), min(stop, end)
                if from_ < to:
                    buffer.array[from_ - begin : to - begin] = source[from_ - first : to - first]
            self.work.copy(target[begin:stop], buffer.tensor[: stop - begin])
            buffer.copied = self.work.record()
            self._sent.reverse()
        return [target[begin:end] for begin, end in zip(begins, ends, strict=True)]

    def fetch(self, source: torch.Tensor, target: _Bytes, ready: Event) -> None:
        """Fill `target` [bytes] from `source` on the GPU, which is there at `ready`. Later work goes on meanwhile."""
        self._back.wait(ready)
        landing: deque[tuple[_Buffer, _Bytes]] = deque()
        for begin, stop in _chunks(target.size, self._fetched[0].size):
            if len(landing) == BUFFERS:
                _land(*landing.popleft())
            buffer = self._fetched[0]
            self._back.copy(buffer.tensor[: stop - begin], source[begin:stop])
            buffer.copied = self._back.record()
            self._fetched.reverse()
            landing.append((buffer, target[begin:stop]))
        for buffer, place in landing:
            _land(buffer, place)


def bytes_together(sources: Sequence[_Bytes]) -> int:
    """What `Courier.send_together` needs for them."""
    return _begins(sources)[-1] + sources[-1].size


def _begins(sources: Sequence[_Bytes]) -> list[int]:
    ends = accumulate(-(-source.size // ALIGNMENT) * ALIGNMENT for source in sources[:-1])
    return [0, *ends]


@cache
def own_courier() -> Courier:
    """This process's, of the first GPU that it sees. MemoryError where that is full."""
    return Courier(CudaDevice(0))


@dataclass
class _Buffer:
    tensor: torch.Tensor
    copied: Event | None = None

    @property
    def array(self) -> _Bytes:
        found: _Bytes = self.tensor.numpy()
        return found

    @property
    def size(self) -> int:
        return self.tensor.numel()

    def wait(self) -> None:
        if self.copied is not None:
            self.copied.synchronize()


def _land(buffer: _Buffer, place: _Bytes) -> None:
    buffer.wait()
    place[:] = buffer.array[: place.size]


def _chunks(size: int, step: int) -> list[tuple[int, int]]:
    return [(begin, min(begin + step, size)) for begin in range(0, size, step)]
