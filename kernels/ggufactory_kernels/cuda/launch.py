"""What is launched for one call: the kernel, how many thread blocks, and the one structure that it is given."""

from __future__ import annotations

import ctypes
from typing import Protocol

from ggufactory_kernels.cuda.kernels import Kernel


class Launch(ctypes.Structure):
    """`Launch` of csrc/cuda/launch.h, which says what the fields mean; addresses are the device's."""

    _fields_ = (
        ("source", ctypes.c_void_p),
        ("row_stride", ctypes.c_int64),
        ("blocks_per_row", ctypes.c_int64),
        ("blocks", ctypes.c_int64),
        ("format", ctypes.c_int64),
        ("importance", ctypes.c_void_p),
        ("mean_squares", ctypes.c_void_p),
        ("stored", ctypes.c_void_p),
        ("entries", ctypes.c_void_p),
        ("lists", ctypes.c_void_p),
        ("groups", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("fault", ctypes.c_void_p),
    )


class Launcher(Protocol):
    """Who runs kernels: a GPU (driver.py), or what stands for one in tests."""

    def launch(self, kernel: Kernel, thread_blocks: int, arguments: Launch) -> None:
        """Have `thread_blocks` blocks of THREADS threads run, in the order of the caller's other work."""
