"""The table of who can do what: for every tensor type and backend, what is missing here, if anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType

from ggufactory_kernels.types import tensor_type


def _missing_for_cpu() -> str | None:
    return None


@cache
def _missing_for_cuda() -> str | None:
    from ggufactory_kernels import cuda

    return cuda.missing()


def _cpu_types() -> tuple[str, ...]:
    from ggufactory_kernels import cpu

    return cpu.KERNEL_TYPES


def _cuda_types() -> tuple[str, ...]:
    from ggufactory_kernels import cuda

    return cuda.KERNEL_TYPES


BACKENDS: Mapping[str, tuple[Callable[[], tuple[str, ...]], Callable[[], str | None]]] = MappingProxyType(
    {"cpu": (_cpu_types, _missing_for_cpu), "cuda": (_cuda_types, _missing_for_cuda)}
)
"""By name: the tensor types that a backend has kernels for, and what is missing for running them here."""


def missing(backend: str, type: str) -> str | None:
    """Why `backend` cannot serve the tensor type here; None where it can. ValueError for unknown names."""
    types, missing_here = BACKENDS[choose(backend, on_gpu=False)]
    if tensor_type(type).name not in types():
        return "no kernel in this build"
    return missing_here()


def require_cuda(type: str, isa: str | None) -> None:
    """ValueError that says what is missing where no GPU can serve the type here, or an instruction set is asked for."""
    reason = missing("cuda", type)
    if reason is not None:
        raise ValueError(f"device 'cuda' cannot be used for {type}: {reason}")
    if isa is not None:
        raise ValueError(f"instruction set {isa!r}: a GPU has none to choose")


def choose(device: str, *, on_gpu: bool) -> str:
    """The backend that a request means: "auto" is wherever the data lie. ValueError for an unknown name."""
    if device == "auto":
        return "cuda" if on_gpu else "cpu"
    if device not in BACKENDS:
        raise ValueError(f"device {device!r} is unknown; known: {', '.join(BACKENDS)}, auto")
    return device
