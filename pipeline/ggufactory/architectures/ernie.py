"""ERNIE 4.5, dense and with experts.

Source: `Ernie4_5Model` and `Ernie4_5MoeModel` of llama.cpp's conversion/ernie.py.
"""

from __future__ import annotations

from ggufactory.architectures.common_tensors import (
    LAYER,
    MODEL,
    NORMS,
    attention,
    gated_mlp,
    linear,
    stacked_experts,
    without_tied_output,
)
from ggufactory.architectures.configuration import Config, block_count, positive_integer
from ggufactory.architectures.expert_sizes import whole_number
from ggufactory.architectures.family import Family
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.sizes import transformer_sizes
from ggufactory.architectures.tensor_names import text_name
from ggufactory.architectures.tensor_rules import EVERY_LAYER, Layers, TensorRule
from ggufactory.architectures.text_parameters import add_text_parameters
from ggufactory.architectures.tokenizer import vocabularies
from ggufactory.architectures.transforms import RowsOf, Sizes

_COMMON = (*MODEL, *NORMS, *attention())
_HEADS = ("queries", "keys", "keys")
_FUSED = (
    *(
        linear("self_attn.qkv_proj", f"attn_{which}", ("qkv", "width"), RowsOf(part, _HEADS), bias=False)
        for part, which in enumerate("qkv")
    ),
    *(
        linear("mlp.up_gate_proj", f"ffn_{which}", ("gate_up", "width"), RowsOf(part, ("inner", "inner")), bias=False)
        for part, which in enumerate(("gate", "up"))
    ),
)
"""As the first checkpoints have them. Gate rows come before up rows, whatever the name says."""
_MIXTURE = (
    *gated_mlp(layers="dense"),
    linear("mlp.gate", "ffn_gate_inp", ("experts", "width"), layers="sparse", bias=False),
    TensorRule(
        LAYER + "mlp.moe_statics.e_score_correction.bias",
        "blk.{}.exp_probs_b.bias",
        ("one", "experts"),
        layers="sparse",
    ),
    *stacked_experts(layers="sparse"),
)
_SHARED_EXPERTS = gated_mlp("mlp.shared_experts", name="ffn_{}_shexp", inner="shared_inner", layers="sparse")
_FURTHER_TOKENS = ("model.mtp_block.", "model.mtp_emb_norm.", "model.mtp_hidden_norm.", "model.mtp_linear_proj.")
"""Layers that predict further tokens: left out."""


def rename(name: str, config: Config) -> str | None:
    return text_name(name.replace("ernie.", "model."), config)


def rename_mixture(name: str, config: Config) -> str | None:
    known = rename(name, config)
    return None if known is None or known.startswith(_FURTHER_TOKENS) else known


def sizes(config: Config) -> Sizes:
    found = transformer_sizes(config)
    return found | {"qkv": found["queries"] + 2 * found["keys"], "gate_up": 2 * found["inner"]}


def mixture_sizes(config: Config) -> Sizes:
    inner = positive_integer(config, "moe_intermediate_size")
    return transformer_sizes(config) | {
        "experts": positive_integer(config, "moe_num_experts"),
        "expert_inner": inner,
        "shared_inner": inner * whole_number(config, "moe_num_shared_experts", 0),
        "one": 1,
    }


def layers(config: Config) -> Layers:
    """Every `moe_layer_interval`-th block has experts, from `moe_layer_start_index` on, to `moe_layer_end_index`."""
    count = block_count(config)
    step = positive_integer({"moe_layer_interval": 1} | config, "moe_layer_interval")
    start, end = whole_number(config, "moe_layer_start_index", 0), config.get("moe_layer_end_index")
    last = count - 1 if end in (None, -1) else whole_number(config, "moe_layer_end_index", 0)
    sparse = [block for block in range(step - 1, count, step) if start <= block <= last]
    return {EVERY_LAYER: range(count), "sparse": sparse, "dense": set(range(count)).difference(sparse)}


def adjust_mixture(rules: tuple[TensorRule, ...], config: Config) -> tuple[TensorRule, ...]:
    shared = _SHARED_EXPERTS if config.get("moe_num_shared_experts") else ()
    return without_tied_output((*rules, *shared), config)


def add_mixture_parameters(p: Parameters) -> None:
    add_text_parameters(p)
    p.uint32("expert_count", p.config.get("moe_num_experts"))
    p.uint32("expert_used_count", p.config.get("moe_k"))
    p.uint32("interleave_moe_layer_step", p.config.get("moe_layer_interval"))
    p.uint32("leading_dense_block_count", p.config.get("moe_layer_start_index"))
    p.uint32("expert_feed_forward_length", p.config.get("moe_intermediate_size"))
    if p.config.get("moe_num_shared_experts") is not None:
        p.uint32("expert_shared_count", p.config["moe_num_shared_experts"])
        if whole_number(p.config, "moe_num_shared_experts", 0):
            # Not the experts' size: what the converter writes here.
            kv_heads = positive_integer(p.config, "num_key_value_heads")
            p.uint32("expert_shared_feed_forward_length", positive_integer(p.config, "intermediate_size") // kv_heads)


ERNIE = Family(
    architecture="ernie4_5",
    classes=("Ernie4_5ForCausalLM", "Ernie4_5_ForCausalLM"),
    tensors=(*_COMMON, *gated_mlp(), *_FUSED),
    sizes=sizes,
    rename=rename,
    adjust=without_tied_output,
    add_parameters=add_text_parameters,
    add_vocabulary=vocabularies.ernie,
)
ERNIE_MOE = Family(
    architecture="ernie4_5-moe",
    classes=("Ernie4_5_MoeForCausalLM",),
    tensors=(*_COMMON, *_MIXTURE),
    sizes=mixture_sizes,
    layers=layers,
    rename=rename_mixture,
    adjust=adjust_mixture,
    add_parameters=add_mixture_parameters,
    add_vocabulary=vocabularies.ernie,
)
