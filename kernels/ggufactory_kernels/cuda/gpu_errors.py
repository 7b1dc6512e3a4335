"""Which errors are of a GPU itself, and not of weights, arguments or too little memory."""

from __future__ import annotations

from ggufactory_kernels.cuda.driver import DriverError

_WORDS = ("CUDA error", "CUDA driver error", "CUDA unknown error", "Triton Error [CUDA]")
"""How PyTorch's and Triton's begin: RuntimeErrors of many kinds, some of them of later releases only."""


def gpu_error(error: BaseException) -> str | None:
    """What CUDA said, in one line, where `error` is of a GPU; None where it is another's.

    After most of these errors (an illegal address, uncorrectable memory) CUDA answers every further call of the
    process with the same. A GPU that is full is none of them: that is a MemoryError (`arrays.memory_errors`).
    """
    told = str(error).strip()
    if isinstance(error, DriverError) or (isinstance(error, RuntimeError) and told.startswith(_WORDS)):
        return told.splitlines()[0]
    return None
