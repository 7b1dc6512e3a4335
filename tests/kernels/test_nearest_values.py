"""Weights on, just below and just above the middle between two stored values go to the side that ggml chooses."""

from __future__ import annotations

from pathlib import Path

import emulated_cuda
import numpy as np
import numpy.typing as npt
import oracle
import pytest
import torch
from cuda_machines import Machine

import ggufactory_kernels as gk

E2M1 = (0, 1, 2, 3, 4, 6, 8, 12)
NONLINEAR = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
LARGEST = {"MXFP4": 12.0, "NVFP4": 12.0, "IQ4_NL": -127.0, "IQ4_XS": -127.0}
"""The weight that makes a block's scale a power of two."""


def rows_at_middles(type_: str) -> npt.NDArray[np.float32]:
    """Rows of one or more blocks, each with the largest weight and middles of its own sign or the other."""
    values = np.array(E2M1 if type_.endswith("FP4") else NONLINEAR, np.float32)
    middles = (values[1:] + values[:-1]) / 2
    around = [np.nextafter(middles, np.float32(side)) for side in (-np.inf, np.inf)]
    weights = np.resize(np.concatenate([middles, *around, -middles]).astype(np.float32), (3, 256))
    weights[:, :: 16 if type_ == "NVFP4" else 32] = LARGEST[type_]
    scales = 2.0 ** np.arange(-124, 124, 4)
    return np.concatenate([weights * np.float32(scale) for scale in scales])


@pytest.mark.parametrize("type_", LARGEST)
def test_ties_go_where_they_go_in_ggml(type_: str, emulated_cuda_library: Path) -> None:
    x = rows_at_middles(type_)
    if type_.startswith("IQ4"):
        x = x[np.abs(x).max(axis=1) < 60000]  # a half-precision scale holds no more
    wanted = oracle.quantize(x, type_)
    assert np.array_equal(gk.quantize(x, type_), wanted)
    machine = Machine("cpu", emulated_cuda.EmulatedGpu(emulated_cuda_library))
    assert np.array_equal(machine.quantize(torch.from_numpy(x), type_), wanted)


@pytest.mark.parametrize("size", [1e3, 1e6, 1e9, 1e12, 3e38])
def test_weights_far_beyond_the_largest_scale(size: float, emulated_cuda_library: Path) -> None:
    """Of NVFP4, whose scales end at 448: differences that are rounded to the same leave the first digit."""
    x = (np.random.default_rng(2).standard_normal((9, 64)) * size / 4).clip(-size, size).astype(np.float32)
    wanted = oracle.quantize(x, "NVFP4")
    assert np.array_equal(gk.quantize(x, "NVFP4"), wanted)
    machine = Machine("cpu", emulated_cuda.EmulatedGpu(emulated_cuda_library))
    assert np.array_equal(machine.quantize(torch.from_numpy(x), "NVFP4"), wanted)
