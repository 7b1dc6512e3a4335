"""What the tasks of a job quantize on: the request, what the cluster has, and what a worker finds on its node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ggufactory.errors import InputError
from ggufactory_kernels import backends

if TYPE_CHECKING:  # Ray takes seconds to import, and a request can be refused without it
    from ggufactory.cluster.session import Session

WORKERS_PER_GPU = 4
"""While one waits for the network, others keep the GPU busy."""

_ANY_TYPE = "Q8_0"
"""A GPU serves every tensor type or none."""


def gpu_share(session: Session, device: str) -> float:
    """The part of a GPU that each task asks Ray for; 0 where tasks shall run on CPUs.

    `device` "auto" means GPUs where every node has one: else those without would stand idle.
    InputError where "cuda" is wanted and no node has a GPU.
    """
    with_gpu = [node.get("GPU", 0) > 0 for node in session.nodes()]
    if device == "cuda" and not any(with_gpu):
        raise InputError(f"device cuda: no node has a GPU; the cluster has {session.describe_nodes()}", fix=_FIX)
    wanted = device == "cuda" or (device == "auto" and with_gpu and all(with_gpu))
    return 1 / WORKERS_PER_GPU if wanted else 0.0


def check_here(device: str) -> None:
    """InputError where "cuda" is wanted and this machine, which will do all the work, cannot serve it."""
    reason = backends.missing("cuda", _ANY_TYPE) if device == "cuda" else None
    if reason is not None:
        raise InputError(f"device cuda: {reason}", fix=_FIX)


def backend_of_worker(device: str, share: float) -> str:
    """The backend of a task that was given `share` of a GPU. InputError where "cuda" is wanted and not there.

    "auto" falls back to the CPU, whose bytes are the same.
    """
    if share == 0:
        return "cpu"
    reason = backends.missing("cuda", _ANY_TYPE)
    if reason is not None and device == "cuda":
        raise InputError(f"device cuda: a worker's node cannot serve it: {reason}", fix=_FIX)
    return "cpu" if reason is not None else "cuda"


_FIX = "Use --device auto or cpu; `python -m ggufactory_kernels explain` says what a machine has"
