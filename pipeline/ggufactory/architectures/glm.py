"""GLM-4 (0414), GLM-4.5 and 4.6, GLM-4.7-Flash.

Source: `Glm4Model`, `Glm4MoeModel` and `Glm4MoeLiteModel` of llama.cpp's conversion/glm.py.
"""

from __future__ import annotations

from ggufactory.architectures import deepseek, nextn
from ggufactory.architectures.common_tensors import (
    HEAD_NORMS,
    MODEL,
    attention,
    gated_mlp,
    linear,
    norm,
    without_tied_output,
)
from ggufactory.architectures.configuration import Config
from ggufactory.architectures.deepseek import EXPERTS, SELECTION_BIAS, SHARED_EXPERTS
from ggufactory.architectures.expert_sizes import expert_sizes, shared_inner
from ggufactory.architectures.family import Family
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.rope import rotated_rows
from ggufactory.architectures.sizes import head_dim, transformer_sizes
from ggufactory.architectures.tensor_rules import EVERY_LAYER, Layers, TensorRule
from ggufactory.architectures.text_parameters import GATING_NUMBERS, add_text_parameters
from ggufactory.architectures.tokenizer import vocabularies
from ggufactory.architectures.transforms import Sizes

_ROTATED = {"partial_rotary_factor": 0.5}
"""Of each head, where config.json does not say."""
_DENSE_NORMS = (
    norm("input_layernorm", "attn_norm"),
    norm("post_self_attn_layernorm", "post_attention_norm"),
    norm("post_attention_layernorm", "ffn_norm"),
    norm("post_mlp_layernorm", "post_ffw_norm"),
)
_DENSE_MLP = (
    linear("mlp.gate_up_proj", "ffn_up", ("gate_up", "width")),
    linear("mlp.down_proj", "ffn_down", ("width", "inner")),
)
"""Gate and up rows stay together."""
_MIXTURE_NORMS = (
    norm("input_layernorm", "attn_norm"),
    norm("post_attention_layernorm", "post_attention_norm"),
)


def dense_sizes(config: Config) -> Sizes:
    found = transformer_sizes(config)
    return found | {"gate_up": 2 * found["inner"]}


def mixture_sizes(config: Config) -> Sizes:
    found = transformer_sizes(config)
    return found | expert_sizes(config) | shared_inner(config) | {"width_twice": 2 * found["width"]}


def lite_sizes(config: Config) -> Sizes:
    found = deepseek.sizes(config)
    return {**found, "width_twice": 2 * found["width"]}


def layers(config: Config) -> Layers:
    """dense: the leading blocks; sparse: the others, with those that predict further tokens."""
    blocks = nextn.stored_blocks(config)
    dense = deepseek.leading_dense_blocks(config)
    return {
        EVERY_LAYER: blocks,
        "dense": blocks[:dense],
        "sparse": blocks[dense:],
        nextn.NEXTN: nextn.stored_nextn_blocks(config),
    }


def adjust_mixture(rules: tuple[TensorRule, ...], config: Config) -> tuple[TensorRule, ...]:
    """The Air models have no norms of heads."""
    return without_tied_output((*rules, *(HEAD_NORMS if config.get("use_qk_norm") else ())), config)


def add_parameters(p: Parameters) -> None:
    add_text_parameters(p)
    p.uint32("rope.dimension_count", rotated_rows(_ROTATED | p.rope, head_dim(p.config)))


def add_mixture_parameters(p: Parameters) -> None:
    add_parameters(p)
    for key, name in (
        ("expert_count", "n_routed_experts"),
        ("expert_feed_forward_length", "moe_intermediate_size"),
        ("expert_shared_count", "n_shared_experts"),
        ("leading_dense_block_count", "first_k_dense_replace"),
    ):
        if (value := p.config.get(name)) is not None:
            p.uint32(key, value)
    p.uint32("expert_gating_func", GATING_NUMBERS["sigmoid"])
    if (scale := p.config.get("routed_scaling_factor")) is not None:
        p.float32("expert_weights_scale", scale)
    if (normalized := p.config.get("norm_topk_prob")) is not None:
        p.boolean("expert_weights_norm", normalized)
    nextn.add_nextn_parameters(p)


def add_lite_parameters(p: Parameters) -> None:
    deepseek.add_parameters(p)
    if nextn.nextn_layers(p.config):
        nextn.add_nextn_parameters(p)


GLM4 = Family(
    architecture="glm4",
    classes=("Glm4ForCausalLM",),
    tensors=(*MODEL, *_DENSE_NORMS, *attention(), *_DENSE_MLP),
    sizes=dense_sizes,
    adjust=without_tied_output,
    add_parameters=add_parameters,
    add_vocabulary=vocabularies.glm4,
)
GLM4_MOE = Family(
    architecture="glm4moe",
    classes=("Glm4MoeForCausalLM",),
    tensors=(
        *(*MODEL, *_MIXTURE_NORMS, *attention()),
        *gated_mlp(layers="dense"),
        *(*EXPERTS, SELECTION_BIAS, *SHARED_EXPERTS, *nextn.NEXTN_TENSORS),
    ),
    sizes=mixture_sizes,
    from_files=nextn.from_files,
    layers=layers,
    adjust=adjust_mixture,
    add_parameters=add_mixture_parameters,
    add_vocabulary=vocabularies.glm4_moe,
)
GLM4_MOE_LITE = Family(
    architecture="deepseek2",
    classes=("Glm4MoeLiteForCausalLM",),
    tensors=(*deepseek.TENSORS, *nextn.NEXTN_TENSORS),
    sizes=lite_sizes,
    settle=deepseek.settle,
    from_files=nextn.from_files,
    layers=layers,
    rename=deepseek.rename,
    adjust=deepseek.adjust,
    add_parameters=add_lite_parameters,
    add_vocabulary=vocabularies.glm4_moe,
)
