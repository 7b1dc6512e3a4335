"""Rotary position embeddings: their parameters in config.json, and Llama 3's frequency factors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ggufactory.architectures.torch_pow import torch_pow
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError

DEFAULT_THETA = 10_000.0
_LOCAL_THETAS = (
    "local_rope_theta",
    "rope_local_theta",
    "rope_theta_local",
    "swa_rope_theta",
    "rope_local_base_freq",
)


def rope_parameters(config: dict[str, Any]) -> dict[str, Any]:
    """The parameters as the converter uses them, from a resolved or a raw config.

    Source: `TextModel.__init__` of llama.cpp's conversion/base.py.
    """
    name = "rope_parameters" if "rope_parameters" in config else "rope_scaling"
    rope = dict(_object(config, name))
    if "full_attention" in rope or "sliding_attention" in rope:
        return rope
    local = _first(config, *_LOCAL_THETAS)
    if local is not None:
        rope["sliding_attention"] = {"rope_theta": local}
    mirrored = {
        "rope_theta": _first(
            config, "global_rope_theta", "rope_global_theta", "rope_theta_global", "rope_theta", "rotary_emb_base"
        ),
        "rope_type": rope.get("type"),
        "partial_rotary_factor": _first(config, "partial_rotary_factor", "rope_pct", "rope_percent"),
        "original_max_position_embeddings": config.get("original_max_position_embeddings"),
    }
    for key, value in mirrored.items():
        if value is not None:
            rope.setdefault(key, value)
    return rope


def full_attention(rope: dict[str, Any]) -> dict[str, Any]:
    """The parameters of the layers that attend to everything."""
    return _object(rope, "full_attention") if "full_attention" in rope else rope


def rotated_rows(rope: dict[str, Any], size: int) -> int:
    """How many of `size` rows are rotated. InputError unless the parameters say which share of them."""
    return share_of(size, "partial_rotary_factor", rope.get("partial_rotary_factor"))


def share_of(size: int, name: str, share: object) -> int:
    """The whole part of `share` of `size`. InputError, which calls it `name`, unless it is from 0 to 1."""
    if not isinstance(share, int | float) or isinstance(share, bool) or not 0 <= share <= 1:
        raise InputError(f"config.json: {name} is {clip(share)}, wanted a number from 0 to 1")
    return int(share * size)


def llama3_factors(rope: dict[str, Any], head_dim: int) -> bytes:
    """`rope_freqs.weight`: head_dim / 2 factors, float32, little endian.

    Source: `LlamaModel.generate_extra_tensors`. It computes in single precision with PyTorch, step by
    step as here: a number divided by a tensor is the tensor's reciprocal times the number.
    """
    base, factor, low, high, original = (
        _number(rope, key, default)
        for key, default in (
            ("rope_theta", DEFAULT_THETA),
            ("factor", 8.0),
            ("low_freq_factor", 1.0),
            ("high_freq_factor", 4.0),
            ("original_max_position_embeddings", 8192.0),
        )
    )
    one = np.float32(1)
    exponents = [float(np.float32(i) / np.float32(head_dim)) for i in range(0, head_dim, 2)]
    longest, shortest = np.float32(original / low), np.float32(original / high)
    factors = bytearray()
    for power in torch_pow(float(np.float32(base)), exponents):
        frequency = one / np.float32(power)
        wavelength = one / frequency * np.float32(2 * math.pi)
        if wavelength < shortest:
            value = one
        elif wavelength > longest:
            value = np.float32(factor)
        elif high == low:  # Llama 4's are equal, and none of its wavelengths lies just between
            raise InputError(f"config.json: rope low_freq_factor and high_freq_factor are both {low}")
        else:
            smooth = (one / wavelength * np.float32(original) - np.float32(low)) / np.float32(high - low)
            value = one / ((one - smooth) / np.float32(factor) + smooth)
        factors += value.tobytes()
    return bytes(factors)


def _number(rope: dict[str, Any], key: str, default: float) -> float:
    value = rope.get(key, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e30:
        raise InputError(f"config.json: rope parameter {key} is {clip(value)}, wanted a positive number")
    return float(value)


def _object(holder: dict[str, Any], key: str) -> dict[str, Any]:
    value = holder.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f"config.json: {key} is {clip(value)}, wanted an object")
    return value


def _first(config: dict[str, Any], *names: str) -> Any:
    return next((config[name] for name in names if name in config), None)
