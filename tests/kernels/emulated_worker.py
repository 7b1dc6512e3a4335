"""What makes a process of Ray a worker with a GPU, emulated, on the nodes whose environment asks for it."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from functools import cache
from pathlib import Path

LIBRARY, NOTES = "EMULATED_CUDA_LIBRARY", "EMULATED_CUDA_NOTES"
"""Environment variables: the library, of a node with a GPU; on every node, a folder where each process notes that it
has started, and in a file of its own how often it has begun to use its GPU."""
BREAKS, LIMIT = "EMULATED_CUDA_BREAKS", "GPU_FAILURE_LIMIT"
"""Of a job whose GPU fails, "once" or "always", each time after some launches; and after how many failures it, or what
was made on it, is given up."""
NODES = 2
"""Each waits for a process on all of them: otherwise the first might do all the work."""

_PATIENCE = 60.0

_open = ExitStack()


def install() -> None:
    """As a worker process starts. Without a library it stays as it is, and finds no GPU."""
    library, notes = os.environ.get(LIBRARY), Path(os.environ[NOTES])
    if library is not None:
        _use_emulation(Path(library), notes)
    (notes / f"started-{os.getpid()}").touch()
    deadline = time.monotonic() + _PATIENCE
    while len(list(notes.glob("started-*"))) < NODES and time.monotonic() < deadline:
        time.sleep(0.05)


def install_breaking() -> None:
    """As a worker process starts: with a GPU that fails for good in the middle of its first work."""
    from ggufactory.cluster import gpu_failures

    gpu_failures._OF_ONE_GPU = gpu_failures._OF_ONE_TASK = int(os.environ[LIMIT])
    _use_emulation(Path(os.environ[LIBRARY]), Path(os.environ[NOTES]))


def _use_emulation(library: Path, notes: Path) -> None:
    from breaking_device import BreakingDevice
    from emulated_device import EmulatedDevice, torch_memory_of

    from ggufactory.cluster import span_task
    from ggufactory_kernels import backends
    from ggufactory_kernels.cuda.courier import Courier

    @cache
    def own_courier() -> Courier:
        breaks = os.environ.get(BREAKS)
        device = BreakingDevice(library, breaks, notes) if breaks else EmulatedDevice(library)
        _open.enter_context(torch_memory_of(device))
        with (notes / f"gpu-{os.getpid()}").open("a") as note:
            note.write("begun\n")
        return Courier(device)

    span_task.own_courier = own_courier
    backends.missing = lambda backend, type: None
