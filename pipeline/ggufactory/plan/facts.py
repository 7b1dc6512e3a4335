"""The few facts of a model that the recipe reads, taken from its GGUF metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ggufactory.container.metadata import Value
from ggufactory.errors import InputError


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """`gqa` is the number of query heads that share a key/value head in the first layer."""

    architecture: str
    layers: int
    """The reference's `n_layer_all`."""
    gqa: int
    experts: int
    is_70b: bool
    """The reference's "70B": by depth alone, so Llama 405B is none."""


def facts_of(architecture: str, metadata: Mapping[str, Value]) -> ModelFacts:
    """The facts, as llama.cpp reads them. InputError when a key is missing or is no whole number."""
    # Of the projector of images and sound the reference reads nothing but its tensors.
    layers = _first_number(metadata, f"{architecture}.block_count", default=0 if architecture == "clip" else None)
    heads = _first_number(metadata, f"{architecture}.attention.head_count", default=0)
    kv_heads = _first_number(metadata, f"{architecture}.attention.head_count_kv", default=heads)
    llama_70b = architecture in ("llama", "llama-embed") and heads != kv_heads
    return ModelFacts(
        architecture=architecture,
        layers=layers,
        gqa=heads // kv_heads if kv_heads else 0,
        experts=_first_number(metadata, f"{architecture}.expert_count", default=0),
        is_70b=(layers == 80 and (llama_70b or architecture in ("qwen2", "deci", "olmo")))
        or (architecture, layers) == ("jais2", 68),
    )


def _first_number(metadata: Mapping[str, Value], key: str, default: int | None = None) -> int:
    """A key's number, or its first where the key holds one per layer."""
    value = metadata.get(key, default)
    if isinstance(value, tuple) and value:
        value = value[0]
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"metadata key {key}: wanted a whole number, found {value!r}")
    return value
