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
    heads = _first_number(metadata, f"{architecture}.attention.head_count", default=0)
    kv_heads = _first_number(metadata, f"{architecture}.attention.head_count_kv", default=heads)
    # Of the encoder of images and sound the reference reads nothing but its tensors.
    blocks = _first_number(metadata, f"{architecture}.block_count", default=0 if architecture == "clip" else None)
    predicting = _first_number(metadata, f"{architecture}.nextn_predict_layers", default=0)
    return ModelFacts(
        architecture=architecture,
        layers=_all_layers(architecture, metadata, blocks, predicting),
        gqa=heads // kv_heads if kv_heads else 0,
        experts=_first_number(metadata, f"{architecture}.expert_count", default=0),
        is_70b=_is_70b(architecture, blocks - predicting, grouped=heads != kv_heads),
    )


def _all_layers(architecture: str, metadata: Mapping[str, Value], blocks: int, predicting: int) -> int:
    """Where the graph has more layers than the file has blocks, the reference counts the graph's."""
    if architecture == "graniteswitch":
        return blocks - predicting + 1
    loops = _first_number(metadata, f"{architecture}.num_loops", default=1)
    return (blocks - predicting) * loops if architecture == "nanbeige" and loops > 1 else blocks


def _is_70b(architecture: str, layers: int, *, grouped: bool) -> bool:
    """`llm_type` of the architectures (llama.cpp, src/models) that have one of 70B."""
    if architecture in ("llama", "llama-embed"):
        return layers == 80 and grouped
    return (architecture, layers) in (("qwen2", 80), ("deci", 80), ("olmo", 80), ("jais2", 68))


def _first_number(metadata: Mapping[str, Value], key: str, default: int | None = None) -> int:
    """A key's number, or its first where the key holds one per layer."""
    value = metadata.get(key, default)
    if isinstance(value, tuple) and value:
        value = value[0]
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"metadata key {key}: wanted a whole number, found {value!r}")
    return value
