"""Memory as the C library and PyTorch hand it out: given back when it is free, and told when there is none.

glibc keeps freed blocks below 32 MiB for later, and with every layer in other places: over the layers of a model the
process would come to hold many times what it needs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from ggufactory.errors import UnavailableError

WORKER_BASE_BYTES = 1 << 30
"""Of a worker before its first layer: PyTorch, transformers, a group of chunks."""
_SAID = ("can't allocate memory", "out of memory")
"""By PyTorch's allocators, of a machine and of a GPU."""
FIX_MEMORY = "Keep fewer hidden states in memory (--hidden-memory), or compute in bfloat16 (--compute-dtype)"


def release_freed_memory() -> None:
    """Does nothing where the C library is not glibc."""
    if (trim := _malloc_trim()) is not None:
        trim(0)


@contextmanager
def told_when_exhausted() -> Iterator[None]:
    """UnavailableError where memory cannot be had; PyTorch has no class of its own for it."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in _SAID):
            raise
        raise UnavailableError(
            "there is not enough memory for a layer and its groups of chunks", fix=FIX_MEMORY
        ) from error


@cache
def _malloc_trim() -> Any | None:
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
