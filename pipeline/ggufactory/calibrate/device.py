"""Where a layer's arithmetic runs: the processor, or a GPU that PyTorch and Triton can use."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from ggufactory.errors import InputError


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


def _missing_for_gpu() -> str | None:
    if torch.version.cuda is None:
        return f"PyTorch {torch.__version__} is built without CUDA"
    if not torch.cuda.is_available():
        return "PyTorch finds no NVIDIA GPU, or no driver for it"
    if find_spec("triton") is None:
        return "Triton, which sums the squares there, is not installed"
    return None
