"""The `<architecture>.*` keys that every text model has, in the converter's order.

Source: `TextModel.set_gguf_parameters` of llama.cpp's conversion/base.py. What one family adds is in
its own file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ggufactory.architectures.configuration import first_of
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.rope import full_attention
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError

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
GATING_NUMBERS = {"softmax": 1, "sigmoid": 2, "sqrtsoftplus": 4}
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


def add_text_parameters(p: Parameters) -> None:
    """What every text model has, in the converter's order."""
    p.uint32("block_count", p.block_count)
    _add_first(p, p.uint32, _SIZES)
    if p.config.get("is_causal") is False:
        p.boolean("attention.causal", False)
    _add_rope(p)
    _add_first(p, p.float32, _EPSILONS)
    _add_first(p, p.uint32, _EXPERTS)
    if (gating := p.first(*_GATING_NAMES)) is not None:
        if not isinstance(gating, str) or gating not in GATING_NUMBERS:
            raise InputError(f"config.json: unknown gating function of experts {clip(gating)}")
        p.uint32("expert_gating_func", GATING_NUMBERS[gating])
    if (head_dim := p.config.get("head_dim")) is not None:
        p.uint32("attention.key_length", head_dim)
        p.uint32("attention.value_length", head_dim)
    p.out.uint32("general.file_type", p.file_type)


def _add_rope(p: Parameters) -> None:
    rope = p.rope
    full = full_attention(rope)
    add_rope_scaling(p, full)
    if "mrope_section" in rope:
        sections = rope["mrope_section"]
        if not isinstance(sections, list):
            raise InputError(f"config.json: mrope_section is {clip(sections)}, wanted an array")
        p.uint32("rope.dimension_sections", (sections + [0] * 4)[:4])
    if (theta := full.get("rope_theta")) is not None:
        p.float32("rope.freq_base", theta)
    sliding = rope.get("sliding_attention")
    if isinstance(sliding, dict) and (theta := sliding.get("rope_theta")) is not None:
        p.float32("rope.freq_base_swa", theta)


def add_rope_scaling(p: Parameters, rope: dict[str, Any]) -> None:
    """`rope`: of the layers that attend to everything."""
    kind = rope.get("rope_type")
    if kind in _LONGROPE:
        p.text("rope.scaling.type", "longrope")
    elif kind in _SCALED_BY_FACTOR:
        if rope.get("factor") is None:
            return
        p.text("rope.scaling.type", kind)
        p.float32("rope.scaling.factor", rope["factor"])
        if kind == "yarn":
            p.uint32("rope.scaling.original_context_length", rope.get("original_max_position_embeddings"))
            for name, sources in _YARN_FACTORS:
                if (value := first_of(rope, *sources)) is not None:
                    p.float32(f"rope.scaling.{name}", value)
    elif kind not in _WITHOUT_KEYS:
        known = ", ".join(sorted({*_LONGROPE, *_SCALED_BY_FACTOR, *filter(None, _WITHOUT_KEYS)}))
        raise InputError(f"config.json: rope type {clip(kind)} is not known; known: {known}")


def _add_first(p: Parameters, add: Callable[[str, object], None], keys: _Keys) -> None:
    for key, names in keys:
        if (value := p.first(*names)) is not None:
            add(key, value)
