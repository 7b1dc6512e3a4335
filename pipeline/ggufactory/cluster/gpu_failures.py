"""GPUs that fail under a worker: its process ends, and what it was making is tried again in another.

After most of CUDA's errors nothing works any more in the process that met them, and workers live on from task to task:
the next spans would all fail there, within a moment each. Ray starts another process and tries the task again, wherever
there is room. Of a process that has ended it says no more than that, so what happened is noted first, in the cluster's
key-value store.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache

import ray
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_list, _internal_kv_put

from ggufactory.cluster.devices import WORKERS_PER_GPU
from ggufactory.errors import GgufactoryError, GpuFailedError
from ggufactory_kernels.cuda.gpu_errors import gpu_error

_NAMESPACE = "ggufactory"

_OF_ONE_TASK = 2
"""So many failures of a task, and "auto" has a CPU make it: it may be the task that breaks GPUs."""
_OF_ONE_GPU = WORKERS_PER_GPU
"""More failures of a GPU, and it is not used again: what breaks it once may break it for each worker that it has."""


@dataclass(frozen=True, slots=True)
class GpuFailure:
    """`process`, `task` and `node`: Ray's ids; `gpu`: its number there; `host`: the node as people call it;
    `told`: what CUDA said."""

    process: str
    task: str
    node: str
    gpu: str
    host: str
    told: str

    def __str__(self) -> str:
        return f"GPU {self.gpu} of node {self.host}: {self.told}"


@contextmanager
def ending_the_process() -> Iterator[None]:
    """In a task: where a GPU fails inside, that is noted, and the process ends."""
    own_gpu()
    try:
        yield
    except Exception as error:
        told = gpu_error(error)
        if told is None:
            raise
        failure = GpuFailure(ray.get_runtime_context().get_worker_id(), _task(), *own_gpu(), told)
        try:
            print(f"this worker ends: {failure}", file=sys.stderr, flush=True)
            _internal_kv_put(_prefix() + failure.process, json.dumps(asdict(failure)), namespace=_NAMESPACE)
        finally:
            os._exit(1)


def failures() -> list[GpuFailure]:
    """In the driver and in its tasks: all of the job so far."""
    keys = sorted(_internal_kv_list(_prefix(), namespace=_NAMESPACE))
    return [GpuFailure(**json.loads(_internal_kv_get(key, namespace=_NAMESPACE))) for key in keys]


def backend_after_failures(device: str) -> str:
    """In a task with a part of a GPU: "cuda", or "cpu" where that GPU or the task has failed too often.

    GpuFailedError where "cuda" is wanted, and the GPU has.
    """
    node, gpu, _ = own_gpu()
    return backend_after(device, failures(), _task(), (node, gpu))


def backend_after(device: str, found: Sequence[GpuFailure], task: str, gpu: tuple[str, str]) -> str:
    """The same for `task` on `gpu` (its node and number), after what has been `found`."""
    of_gpu = [failure for failure in found if (failure.node, failure.gpu) == gpu]
    is_given_up = len(of_gpu) > _OF_ONE_GPU
    if device == "auto":
        of_task = sum(failure.task == task for failure in found)
        return "cpu" if is_given_up or of_task >= _OF_ONE_TASK else "cuda"
    if is_given_up:
        raise GpuFailedError(
            f"device cuda: {of_gpu[-1]}; it has failed {len(of_gpu)} times in this job",
            fix="What is done is kept: start the same command again without this GPU, or with --device auto",
        )
    return "cuda"


def failure_of(task: str) -> GgufactoryError | None:
    """In the driver, of a task whose last process has ended: that a GPU failed; None where none did."""
    found = [failure for failure in failures() if failure.task == task]
    return GgufactoryError(f"{found[-1]}, and so in each of {len(found)} attempts") if found else None


class Teller:
    """In the driver: tells of each failure once."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._told: set[GpuFailure] = set()

    def look(self) -> None:
        found = failures()
        for failure in found:
            if failure not in self._told:
                self._told.add(failure)
                times = sum((each.node, each.gpu) == (failure.node, failure.gpu) for each in found)
                now = "; the GPU is given up" if times > _OF_ONE_GPU else ""
                self._warn(f"{failure}. The worker's process was ended, and what it was making is made again{now}")


@cache
def own_gpu() -> tuple[str, str, str]:
    """The node, the GPU's number there and the host, of this process. It keeps the GPU that its first task was given,
    whatever Ray counts the later ones to."""
    context = ray.get_runtime_context()
    numbers = context.get_accelerator_ids().get("GPU") or ["?"]
    return context.get_node_id(), numbers[0], f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"


def _task() -> str:
    return str(ray.get_runtime_context().get_task_id())


def _prefix() -> str:
    """The same in the driver and in its tasks, another for every job of a cluster."""
    return f"gpu-failure-{ray.get_runtime_context().get_job_id()}-"
