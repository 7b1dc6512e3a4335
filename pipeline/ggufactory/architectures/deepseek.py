"""DeepSeek V2, V2.5, V3, V3.1 and R1, Kimi K2: latent attention, and experts in most blocks.

Keys and values come from one low-rank projection. Its second half is taken apart, so that llama.cpp can attend
in the latent space: the keys' part is transposed, head by head. Source: `DeepseekV2Model` of llama.cpp's
conversion/deepseek.py.
"""

from __future__ import annotations

from dataclasses import replace

from ggufactory.architectures.common_tensors import (
    LAYER,
    MODEL,
    NORMS,
    gated_mlp,
    linear,
    norm,
    stacked_experts,
    without_tied_output,
)
from ggufactory.architectures.configuration import Config, block_count, first_of, positive_integer
from ggufactory.architectures.expert_sizes import expert_sizes, layers_from, shared_inner, whole_number
from ggufactory.architectures.family import Family
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.tensor_names import block_of, text_name
from ggufactory.architectures.tensor_rules import Layers, TensorRule
from ggufactory.architectures.text_parameters import add_text_parameters
from ggufactory.architectures.tokenizer import vocabularies
from ggufactory.architectures.transforms import RowsOf, Sizes, TransposedRowsOf

_KEYS_AND_VALUES = ("head_keys", "head_values")
LATENT_ATTENTION = (
    linear("self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa", ("kv_a", "width")),
    norm("self_attn.kv_a_layernorm", "attn_kv_a_norm", "kv_rank"),
    linear(
        "self_attn.kv_b_proj",
        "attn_k_b",
        ("kv_b", "kv_rank"),
        TransposedRowsOf(0, _KEYS_AND_VALUES, "kv_heads"),
        bias=False,
    ),
    linear("self_attn.kv_b_proj", "attn_v_b", ("kv_b", "kv_rank"), RowsOf(1, _KEYS_AND_VALUES, "kv_heads"), bias=False),
    linear("self_attn.o_proj", "attn_output", ("width", "values")),
)
_QUERIES = (linear("self_attn.q_proj", "attn_q", ("queries", "width")),)
_LOW_RANK_QUERIES = (
    linear("self_attn.q_a_proj", "attn_q_a", ("q_rank", "width")),
    norm("self_attn.q_a_layernorm", "attn_q_a_norm", "q_rank"),
    linear("self_attn.q_b_proj", "attn_q_b", ("queries", "q_rank")),
)
SELECTION_BIAS = TensorRule(
    LAYER + "mlp.gate.e_score_correction.bias", "blk.{}.exp_probs_b.bias", ("experts",), layers="sparse"
)
"""Added to the scores that experts are selected by; new with DeepSeek V3."""
EXPERTS = (
    linear("mlp.gate", "ffn_gate_inp", ("experts", "width"), layers="sparse", bias=False),
    *stacked_experts(layers="sparse"),
)
SHARED_EXPERTS = gated_mlp("mlp.shared_experts", name="ffn_{}_shexp", inner="shared_inner", layers="sparse")
TENSORS = (*MODEL, *NORMS, *LATENT_ATTENTION, *gated_mlp(layers="dense"))


def settle(config: Config) -> Config:
    return {"rms_norm_eps": 1e-6, "kv_lora_rank": 512} | config


def sizes(config: Config) -> Sizes:
    heads = positive_integer(config, "num_attention_heads")
    kv_heads = positive_integer({"num_key_value_heads": heads} | config, "num_key_value_heads")
    head_keys, head_values = positive_integer(config, "qk_nope_head_dim"), positive_integer(config, "v_head_dim")
    rotated, kv_rank = positive_integer(config, "qk_rope_head_dim"), positive_integer(config, "kv_lora_rank")
    found = {
        "vocabulary": positive_integer(config, "vocab_size"),
        "width": positive_integer(config, "hidden_size"),
        "inner": positive_integer(config, "intermediate_size"),
        "kv_heads": kv_heads,
        "head_keys": head_keys,
        "head_values": head_values,
        "queries": heads * (head_keys + rotated),
        "values": heads * head_values,
        "kv_rank": kv_rank,
        "kv_a": kv_rank + rotated,
        "kv_b": kv_heads * (head_keys + head_values),
    }
    if config.get("q_lora_rank") is not None:
        found["q_rank"] = positive_integer(config, "q_lora_rank")
    if _has_experts(config):
        found |= expert_sizes(config) | shared_inner(config)
    return found


def adjust(rules: tuple[TensorRule, ...], config: Config) -> tuple[TensorRule, ...]:
    queries = _QUERIES if config.get("q_lora_rank") is None else _LOW_RANK_QUERIES
    experts = (*EXPERTS, replace(SELECTION_BIAS, optional=True)) if _has_experts(config) else ()
    shared = SHARED_EXPERTS if experts and config.get("n_shared_experts") else ()
    return without_tied_output((*rules, *queries, *experts, *shared), config)


def leading_dense_blocks(config: Config) -> int:
    """How many blocks have no experts."""
    return whole_number(config, "first_k_dense_replace", 0) if _has_experts(config) else block_count(config)


def _has_experts(config: Config) -> bool:
    return config.get("n_routed_experts") is not None


def layers(config: Config) -> Layers:
    return layers_from(leading_dense_blocks(config), config)


def rename(name: str, config: Config) -> str | None:
    """Without the layers that predict further tokens, and without an output matrix that is the embeddings'."""
    known = text_name(name, config)
    if known is None or (config.get("tie_word_embeddings") and known in ("lm_head.weight", "model.lm_head.weight")):
        return None
    block = block_of(known)
    return None if block is not None and block >= block_count(config) else known


def add_parameters(p: Parameters) -> None:
    # Attention in the latent space has one key and value head, whose keys are also its values.
    add_text_parameters(replace(p, config=p.config | {"num_key_value_heads": 1}))
    size = sizes(p.config)
    p.uint32(
        "leading_dense_block_count", whole_number(p.config, "first_k_dense_replace", leading_dense_blocks(p.config))
    )
    p.uint32("vocab_size", size["vocabulary"])
    if p.config.get("q_lora_rank") is not None:
        p.uint32("attention.q_lora_rank", size["q_rank"])
    p.uint32("attention.kv_lora_rank", size["kv_rank"])
    p.uint32("attention.key_length", size["kv_a"])
    p.uint32("attention.value_length", size["kv_rank"])
    rotated = size["kv_a"] - size["kv_rank"]
    p.uint32("attention.key_length_mla", size["head_keys"] + rotated)
    p.uint32("attention.value_length_mla", size["head_values"])
    p.uint32("expert_feed_forward_length", first_of(p.config, "moe_intermediate_size", "intermediate_size"))
    if _has_experts(p.config):
        p.uint32("expert_count", p.config["n_routed_experts"])
    p.uint32("expert_shared_count", whole_number(p.config, "n_shared_experts", 0))
    if (scale := p.config.get("routed_scaling_factor")) is not None:
        p.float32("expert_weights_scale", scale)
    if p.config.get("norm_topk_prob"):
        p.boolean("expert_weights_norm", True)
    p.uint32("rope.dimension_count", rotated)
    if (mscale := p.rope.get("mscale_all_dim")) is not None:
        p.float32("rope.scaling.yarn_log_multiplier", 0.1 * mscale if isinstance(mscale, int | float) else mscale)


DEEPSEEK = Family(
    architecture="deepseek2",
    classes=("DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM"),
    tensors=TENSORS,
    sizes=sizes,
    settle=settle,
    layers=layers,
    rename=rename,
    adjust=adjust,
    add_parameters=add_parameters,
    add_vocabulary=vocabularies.deepseek,
)
