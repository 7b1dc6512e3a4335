"""Whether Triton decodes packed weights here. Where it does not, the CPU does: the numbers are the same."""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ggufactory_kernels.arrays import memory_errors

if TYPE_CHECKING:
    import torch


@cache
def missing() -> str | None:
    """What keeps Triton from decoding on the first GPU that this process sees; None where it has decoded a few weights.

    It also needs a C compiler and a folder for what it compiles, so nothing short of a trial tells. Under Triton's
    interpreter the trial is run by the CPU. MemoryError where the GPU is full.
    """
    if find_spec("triton") is None:
        return "Triton is not installed"
    import torch

    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if not torch.cuda.is_available() and not interpreted:
        return "PyTorch finds no NVIDIA GPU, or no driver for it"
    try:
        with memory_errors():
            _decode_some(torch.device("cpu" if interpreted else "cuda"))
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever hinders a compiler and a loader that are not ours
        return f"Triton cannot run: {str(error).strip().partition(chr(10))[0] or type(error).__name__}"
    return None


def _decode_some(device: torch.device) -> None:
    """As a worker does, so that what it compiles is used again. RuntimeError for other numbers than the CPU's."""
    import torch

    from ggufactory_kernels.triton_ops import decode_scaled_bytes

    weights = torch.arange(32, dtype=torch.uint8)[None].view(torch.float8_e4m3fn)
    scales = torch.full((1, 1), 0.75)
    scale_rows = torch.zeros(1, dtype=torch.int64)
    found = decode_scaled_bytes(
        weights.to(device), scales.to(device), scale_rows.to(device), weights.shape[1], torch.bfloat16
    )
    if not torch.equal(found.cpu(), (weights.float() * scales).bfloat16()):
        raise RuntimeError("it decodes weights to other numbers than the CPU")
