"""What the C library keeps of freed memory, given back to the system.

glibc keeps freed blocks below 32 MiB for later, and with every layer in other places: over the layers of a model the
process would come to hold many times what it needs.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any


def release_freed_memory() -> None:
    """Does nothing where the C library is not glibc."""
    if (trim := _malloc_trim()) is not None:
        trim(0)


@cache
def _malloc_trim() -> Any | None:
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
