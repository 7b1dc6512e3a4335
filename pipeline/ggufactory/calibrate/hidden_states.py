"""Hidden states of all chunk groups: in memory up to a bound, beyond it in a temporary file."""

from __future__ import annotations

import tempfile
import threading
from types import TracebackType

import numpy as np
import numpy.typing as npt
import torch


def as_bytes(states: torch.Tensor) -> npt.NDArray[np.uint8]:
    """Without copying what is contiguous: [..., width in bytes]."""
    return states.contiguous().view(torch.uint8).numpy()


class HiddenStates:
    """By the number of the group. Threads may use it together. Use as a context manager: the file goes with it."""

    def __init__(self, memory_bytes: int) -> None:
        self._left = memory_bytes
        self._held: dict[int, torch.Tensor] = {}
        self._spilled: dict[int, tuple[int, torch.Tensor]] = {}
        self._file = tempfile.TemporaryFile(prefix="ggufactory-hidden-")  # noqa: SIM115 - closed by __exit__
        self._end = 0
        self._lock = threading.Lock()

    def __enter__(self) -> HiddenStates:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def put(self, group: int, states: torch.Tensor) -> None:
        """Replace what is there. The states of a group keep their shape and dtype."""
        with self._lock:
            if group in self._held or (group not in self._spilled and states.nbytes <= self._left):
                if group not in self._held:
                    self._left -= states.nbytes
                self._held[group] = states
                return
            if group not in self._spilled:
                self._spilled[group] = self._end, torch.empty(states.shape, dtype=states.dtype, device="meta")
                self._end += states.nbytes
            self._file.seek(self._spilled[group][0])
            self._file.write(as_bytes(states).data)

    def get(self, group: int) -> torch.Tensor:
        with self._lock:
            if group in self._held:
                return self._held[group]
            offset, shape = self._spilled[group]
            states = torch.empty_like(shape, device="cpu")
            self._file.seek(offset)
            self._file.readinto(states.view(torch.uint8).numpy().data)
            return states
