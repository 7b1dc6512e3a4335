"""An emulated GPU that fails while a kernel runs, and after that for whatever it is asked, as a real one does."""

from __future__ import annotations

from pathlib import Path

import torch
from emulated_device import EmulatedDevice

from ggufactory_kernels.cuda.kernels import Kernel
from ggufactory_kernels.cuda.launch import Launch

TOLD = "CUDA error: an illegal memory access was encountered"
_LAUNCHES = 5
"""That go well in a process."""


class BreakingDevice(EmulatedDevice):
    """`breaks`: "once", in the first process that notes so in `notes`; or "always", in each."""

    def __init__(self, library: Path, breaks: str, notes: Path) -> None:
        super().__init__(library)
        self._breaks = breaks
        self._note = notes / "broken"
        self._is_broken = False

    def launch(self, kernel: Kernel, thread_blocks: int, arguments: Launch) -> None:
        if len(self.launched) == _LAUNCHES and (self._breaks == "always" or not self._note.exists()):
            self._note.touch()
            self._is_broken = True
        self._check()
        super().launch(kernel, thread_blocks, arguments)

    def empty(self, size: int) -> torch.Tensor:
        self._check()
        return super().empty(size)

    def _check(self) -> None:
        if self._is_broken:
            raise torch.AcceleratorError(f"{TOLD}\nCUDA kernel errors might be reported later")
