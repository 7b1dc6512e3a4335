"""The `<architecture>.*` keys that every text model has, in the converter's order.

Source: `TextModel.set_gguf_parameters` of llama.cpp's conversion/base.py. What one family adds is in
its own file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ggufactory.architectures.configuration import Config, first_of
from ggufactory.architectures.key_values import KeyValues
from ggufactory.architectures.rope import full_attention
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError

MOSTLY_BF16 = 32
"""llama.cpp's file type of the converter's output."""

_Keys = tuple[tuple[str, tuple[str, ...]], ...]
"""A key, and the names in config.json of which the first that is there gives its value."""
_SIZES: _Keys = (
    (
        "context_length",
        (
            "max_position_embeddings",
            "n_ctx",
            "n_positions",
            "max_length",
            "max_sequence_length",
            "model_max_length",
        ),
    ),
    ("embedding_length", ("hidden_size", "n_embd", "dim")),
    (
        "feed_forward_length",
        ("prefix_dense_intermediate_size", "dense_intermediate_size", "intermediate_size", "n_inner", "hidden_dim"),
    ),
    ("attention.head_count", ("num_attention_heads", "n_head", "n_heads")),
    ("attention.head_count_kv", ("num_key_value_heads", "n_kv_heads")),
)
_EPSILONS: _Keys = (
    ("attention.layer_norm_rms_epsilon", ("rms_norm_eps", "norm_eps")),
    ("attention.layer_norm_epsilon", ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon")),
)
_EXPERTS: _Keys = (
    ("expert_count", ("num_local_experts", "num_experts", "n_routed_experts")),
    ("expert_used_count", ("num_experts_per_tok", "num_experts_per_token", "top_k_experts")),
    ("expert_group_count", ("n_group",)),
    ("expert_group_used_count", ("topk_group",)),
)
_GATING_NAMES = (
    "score_function",
    "scoring_func",
    "score_func",
    "moe_router_activation",
    "moe_router_activation_func",
    "expert_selection_fn",
)
_GATING_NUMBERS = {"softmax": 1, "sigmoid": 2, "sqrtsoftplus": 4}
_LONGROPE = ("su", "longrope")
_SCALED_BY_FACTOR = ("linear", "yarn")
_WITHOUT_KEYS = (None, "default", "dynamic", "llama3")
"""Of these the converter writes nothing; Llama 3's become a tensor."""
_YARN_FACTORS: _Keys = (
    ("yarn_ext_factor", ("extrapolation_factor",)),
    ("yarn_attn_factor", ("attention_factor", "attn_factor")),
    ("yarn_beta_fast", ("beta_fast",)),
    ("yarn_beta_slow", ("beta_slow",)),
)


def add_text_parameters(
    out: KeyValues, architecture: str, config: Config, rope: dict[str, Any], block_count: int
) -> None:
    """`config` as `resolve_config` gives it, `rope` as `rope_parameters` does."""
    out.uint32(f"{architecture}.block_count", block_count)
    _add_first(out.uint32, architecture, config, _SIZES)
    if config.get("is_causal") is False:
        out.boolean(f"{architecture}.attention.causal", False)
    _add_rope(out, architecture, rope)
    _add_first(out.float32, architecture, config, _EPSILONS)
    _add_first(out.uint32, architecture, config, _EXPERTS)
    if (gating := first_of(config, *_GATING_NAMES)) is not None:
        if gating not in _GATING_NUMBERS:
            raise InputError(f"config.json: unknown gating function of experts {clip(gating)}")
        out.uint32(f"{architecture}.expert_gating_func", _GATING_NUMBERS[gating])
    if (head_dim := config.get("head_dim")) is not None:
        out.uint32(f"{architecture}.attention.key_length", head_dim)
        out.uint32(f"{architecture}.attention.value_length", head_dim)
    out.uint32("general.file_type", MOSTLY_BF16)


def _add_rope(out: KeyValues, architecture: str, rope: dict[str, Any]) -> None:
    full = full_attention(rope)
    _add_rope_scaling(out, f"{architecture}.rope.scaling", full)
    if "mrope_section" in rope:
        sections = rope["mrope_section"]
        if not isinstance(sections, list):
            raise InputError(f"config.json: mrope_section is {clip(sections)}, wanted an array")
        out.int32s(f"{architecture}.rope.dimension_sections", (sections + [0] * 4)[:4])
    if (theta := full.get("rope_theta")) is not None:
        out.float32(f"{architecture}.rope.freq_base", theta)
    sliding = rope.get("sliding_attention")
    if isinstance(sliding, dict) and (theta := sliding.get("rope_theta")) is not None:
        out.float32(f"{architecture}.rope.freq_base_swa", theta)


def _add_rope_scaling(out: KeyValues, prefix: str, rope: dict[str, Any]) -> None:
    kind = rope.get("rope_type")
    if kind in _LONGROPE:
        out.text(f"{prefix}.type", "longrope")
    elif kind in _SCALED_BY_FACTOR:
        out.text(f"{prefix}.type", kind)
        out.float32(f"{prefix}.factor", rope.get("factor"))
        if kind == "yarn":
            out.uint32(f"{prefix}.original_context_length", rope.get("original_max_position_embeddings"))
            for name, sources in _YARN_FACTORS:
                if (value := first_of(rope, *sources)) is not None:
                    out.float32(f"{prefix}.{name}", value)
    elif kind not in _WITHOUT_KEYS:
        known = ", ".join(sorted({*_LONGROPE, *_SCALED_BY_FACTOR, *filter(None, _WITHOUT_KEYS)}))
        raise InputError(f"config.json: rope type {clip(kind)} is not known; known: {known}")


def _add_first(add: Callable[[str, object], None], architecture: str, config: Config, keys: _Keys) -> None:
    for key, names in keys:
        if (value := first_of(config, *names)) is not None:
            add(f"{architecture}.{key}", value)
