"""Where a layer's arithmetic runs: the processor, or a GPU that PyTorch and Triton can use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import torch

from ggufactory.errors import GpuFailedError, InputError
from ggufactory_kernels.cuda.gpu_errors import gpu_error


def device_of(asked: str) -> torch.device:
    """The device for "auto", "cpu" or "cuda". "auto" is a GPU if there is one.

    InputError when a GPU is asked for and cannot be used.
    """
    if asked == "cpu":
        return torch.device("cpu")
    missing = _missing_for_gpu()
    if missing is None:
        return torch.device("cuda")
    if asked == "cuda":
        raise InputError(f"device cuda: {missing}", fix="Calibrate with --device cpu")
    return torch.device("cpu")


@contextmanager
def told_when_gpu_fails() -> Iterator[None]:
    """GpuFailedError where CUDA reports one, after which it does nothing more for this process. What is kept on disk
    is not concerned."""
    try:
        yield
    except RuntimeError as error:
        told = gpu_error(error)
        if told is None:
            raise
        raise GpuFailedError(
            f"device cuda: {told}", fix="The same command resumes after the last finished layer; or --device cpu"
        ) from error


def _missing_for_gpu() -> str | None:
    if torch.version.cuda is None:
        return f"PyTorch {torch.__version__} is built without CUDA"
    if not torch.cuda.is_available():
        return "PyTorch finds no NVIDIA GPU, or no driver for it"
    if find_spec("triton") is None:
        return "Triton, which sums the squares there, is not installed"
    return None
