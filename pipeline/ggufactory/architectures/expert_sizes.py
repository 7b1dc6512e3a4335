"""The sizes of mixtures of experts, by the names that tables of tensors use, and which blocks have experts."""

from __future__ import annotations

from collections.abc import Collection

from ggufactory.architectures.configuration import Config, block_count, positive_integer
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError

EXPERT_COUNTS = ("num_local_experts", "num_experts", "n_routed_experts")


def expert_sizes(config: Config, *, inner: str = "moe_intermediate_size") -> dict[str, int]:
    """experts, expert_inner, gate_up (twice expert_inner). `inner`: the key of config.json for the second."""
    size = positive_integer(config, inner)
    return {"experts": positive_integer(config, *EXPERT_COUNTS), "expert_inner": size, "gate_up": 2 * size}


def shared_inner(config: Config) -> dict[str, int]:
    """shared_inner: of `n_shared_experts` experts in one, which every token goes through; 0 where there are none."""
    count = whole_number(config, "n_shared_experts", 0)
    return {"shared_inner": count * positive_integer(config, "moe_intermediate_size")}


def layers_from(first: int, config: Config) -> dict[str, Collection[int]]:
    """dense: the blocks before `first`; sparse: the others."""
    count = block_count(config)
    return {"every": range(count), "dense": range(min(first, count)), "sparse": range(first, count)}


def whole_number(config: Config, name: str, default: int) -> int:
    """`default` where it is missing or null. InputError for anything but a whole number up to 2^31 - 1."""
    value = config.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 31:
        raise InputError(f"config.json: {name} is {clip(value)}, wanted a whole number")
    return value
