"""Llama 3's frequency factors are bit for bit what the converter computes with PyTorch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from ggufactory.architectures.rope import llama3_factors
from ggufactory.architectures.torch_pow import torch_pow
from ggufactory.errors import InputError

LLAMA_31 = {
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
LLAMA_32 = LLAMA_31 | {"factor": 32.0}
UNUSUAL = LLAMA_31 | {"rope_theta": 3297987.433, "factor": 5.3, "low_freq_factor": 1.1, "high_freq_factor": 7.7}
LLAMA_4 = LLAMA_31 | {"factor": 16.0, "high_freq_factor": 1.0}
SHORT = LLAMA_31 | {"rope_theta": 10000, "original_max_position_embeddings": 64}


def with_torch(rope: dict[str, Any], head_dim: int) -> bytes:
    """`LlamaModel.generate_extra_tensors` of the converter, step by step."""
    base, original = rope["rope_theta"], rope["original_max_position_embeddings"]
    low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
    frequencies = 1.0 / (base ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim))
    factors: list[Any] = []
    for frequency in frequencies:
        wavelength = 2 * math.pi / frequency
        if wavelength < original / high:
            factors.append(1)
        elif wavelength > original / low:
            factors.append(factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return torch.tensor(factors, dtype=torch.float32).numpy().tobytes()


@pytest.mark.parametrize("head_dim", [8, 16, 64, 128, 192, 256])
@pytest.mark.parametrize(
    "rope", [LLAMA_31, LLAMA_32, LLAMA_4, UNUSUAL, SHORT], ids=["3.1", "3.2", "4", "unusual", "short"]
)
def test_factors_are_the_converters(rope: dict[str, Any], head_dim: int) -> None:
    assert llama3_factors(rope, head_dim) == with_torch(rope, head_dim)


def test_power_is_pytorchs_and_not_the_correctly_rounded_one() -> None:
    values = np.random.default_rng(5).uniform(0, 1, 64).astype(np.float32)
    differing = 0
    for base in (10000.0, 500000.0, 1000000.0, 3297987.5, 12345.678):
        base32 = float(np.float32(base))
        want = torch.pow(torch.full((64,), base32), torch.from_numpy(values)).tolist()
        assert torch_pow(base32, values.tolist()) == want
        rounded = np.power(base32, values.astype(np.float64)).astype(np.float32).tolist()
        differing += sum(a != b for a, b in zip(want, rounded, strict=True))
    assert differing, "the comparison tells nothing"


FIRST_WAVELENGTH = float(np.float32(2 * math.pi))
JUST_BETWEEN = {"low_freq_factor": 1.0, "high_freq_factor": 1.0, "original_max_position_embeddings": FIRST_WAVELENGTH}


@pytest.mark.parametrize(
    "change", [{"factor": 0}, {"rope_theta": "x"}, JUST_BETWEEN, {"high_freq_factor": float("nan")}]
)
def test_senseless_parameters_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="rope"):
        llama3_factors(LLAMA_31 | change, 128)
