"""LongRoPE's frequency factors, one set for short texts and one for long, and the factor of attention.

Source: `Phi3MiniModel` of llama.cpp's conversion/phi.py.
"""

from __future__ import annotations

import math
import struct
from typing import Any

from ggufactory.architectures.configuration import Config, positive_integer
from ggufactory.architectures.model import OutputTensor
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.rope import rope_parameters, rotated_rows
from ggufactory.architectures.sizes import MAX_HEAD_DIM
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError

_NAMES = {"rope_factors_long.weight": "long_factor", "rope_factors_short.weight": "short_factor"}


def rotary_size(config: Config) -> int:
    """Rows of a head that are rotated. InputError unless it is a share of them."""
    rope = {"partial_rotary_factor": 1.0} | rope_parameters(config)
    width = positive_integer(config, "hidden_size", "n_embd")
    return rotated_rows(rope, width) // positive_integer(config, "num_attention_heads", "n_head")


def longrope_factors(config: Config) -> tuple[OutputTensor, ...]:
    """Both sets, where config.json has them. InputError unless there is one factor per pair of rotated rows."""
    rope = rope_parameters(config)
    if not rope.get("long_factor"):
        return ()
    size = rotary_size(config)
    return tuple(
        OutputTensor(name, (size // 2,), "F32", values=_factors(rope, key, size)) for name, key in _NAMES.items()
    )


def add_longrope_attention_factor(p: Parameters) -> None:
    """By how much attention is scaled for the longer context. InputError for scaling of another kind."""
    rope = p.rope
    if not rope.get("long_factor"):
        return
    original = _original_length(rope)
    scale = positive_integer(p.config, "n_positions", "max_position_embeddings") / original
    kind = str(rope.get("rope_type", "")).lower()
    if kind in ("su", "longrope"):
        factor = math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 else 1.0
    elif kind == "yarn":
        factor = 0.1 * math.log(scale) + 1.0 if scale > 1 else 1.0
    else:
        raise InputError(f"config.json: rope type {clip(rope.get('rope_type'))} with long_factor, wanted 'longrope'")
    p.float32("rope.scaling.attn_factor", factor)


def _original_length(rope: dict[str, Any]) -> int:
    original = rope.get("original_max_position_embeddings")
    if not isinstance(original, int) or isinstance(original, bool) or not 1 < original < 1 << 31:
        raise InputError(
            f"config.json: original_max_position_embeddings is {clip(original)}, wanted a whole number above 1"
        )
    return original


def _factors(rope: dict[str, Any], key: str, size: int) -> bytes:
    factors = rope.get(key)
    count = size // 2
    if not isinstance(factors, list) or size > MAX_HEAD_DIM or 2 * len(factors) != size:
        raise InputError(f"config.json: {key} is {clip(factors)}, wanted an array of {count:,} numbers")
    try:
        return struct.pack(f"<{count}f", *factors)
    except (struct.error, OverflowError):
        raise InputError(f"config.json: {key} holds something else than numbers of single precision") from None
