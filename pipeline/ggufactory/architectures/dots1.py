"""dots.llm1. Source: `Dots1Model` of llama.cpp's conversion/dots1.py."""

from __future__ import annotations

from ggufactory.architectures import qwen_moe
from ggufactory.architectures.common_tensors import (
    HEAD_NORMS,
    MODEL,
    NORMS,
    attention,
    gated_mlp,
    without_tied_output,
)
from ggufactory.architectures.configuration import Config
from ggufactory.architectures.deepseek import EXPERTS, SELECTION_BIAS, SHARED_EXPERTS
from ggufactory.architectures.expert_sizes import expert_sizes, layers_from, shared_inner, whole_number
from ggufactory.architectures.family import Family
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.sizes import transformer_sizes
from ggufactory.architectures.tensor_rules import Layers
from ggufactory.architectures.tokenizer import vocabularies
from ggufactory.architectures.transforms import Sizes


def sizes(config: Config) -> Sizes:
    return transformer_sizes(config) | expert_sizes(config) | shared_inner(config)


def layers(config: Config) -> Layers:
    return layers_from(whole_number(config, "first_k_dense_replace", 0), config)


def add_parameters(p: Parameters) -> None:
    qwen_moe.add_parameters(p)
    p.uint32("leading_dense_block_count", p.config.get("first_k_dense_replace"))
    p.uint32("expert_shared_count", p.config.get("n_shared_experts"))
    p.float32("expert_weights_scale", p.config.get("routed_scaling_factor"))
    p.boolean("expert_weights_norm", p.config.get("norm_topk_prob"))


DOTS1 = Family(
    architecture="dots1",
    classes=("Dots1ForCausalLM",),
    tensors=(
        *(*MODEL, *NORMS, *attention(), *HEAD_NORMS),
        *gated_mlp(layers="dense"),
        *(*EXPERTS, SELECTION_BIAS, *SHARED_EXPERTS),
    ),
    sizes=sizes,
    layers=layers,
    adjust=without_tied_output,
    add_parameters=add_parameters,
    add_vocabulary=vocabularies.byte_level,
)
