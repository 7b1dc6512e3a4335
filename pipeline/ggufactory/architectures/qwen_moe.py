"""Qwen 1.5, 2 and 3 with experts: in every block, since llama.cpp knows no others of them.

Source: `Qwen2MoeModel` and `Qwen3MoeModel` of llama.cpp's conversion/qwen.py.
"""

from __future__ import annotations

from ggufactory.architectures.common_tensors import (
    HEAD_NORMS,
    MODEL,
    NORMS,
    attention,
    fused_experts,
    gated_mlp,
    linear,
    stacked_experts,
    without_tied_output,
)
from ggufactory.architectures.configuration import Config, positive_integer
from ggufactory.architectures.expert_sizes import expert_sizes
from ggufactory.architectures.family import Family
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.sizes import transformer_sizes
from ggufactory.architectures.text_parameters import add_text_parameters
from ggufactory.architectures.tokenizer import vocabularies
from ggufactory.architectures.transforms import Sizes

EXPERTS = (
    linear("mlp.gate", "ffn_gate_inp", ("experts", "width"), bias=False),
    *stacked_experts(),
    *fused_experts(),
)
SHARED_EXPERT = (
    linear("mlp.shared_expert_gate", "ffn_gate_inp_shexp", ("one", "width"), bias=False),
    *gated_mlp("mlp.shared_expert", name="ffn_{}_shexp", inner="shared_inner"),
)
_TENSORS = (*MODEL, *NORMS, *attention(), *EXPERTS)


def qwen3_sizes(config: Config) -> dict[str, int]:
    return transformer_sizes(config) | expert_sizes(config)


def qwen2_sizes(config: Config) -> Sizes:
    shared = positive_integer(config, "shared_expert_intermediate_size")
    return qwen3_sizes(config) | {"shared_inner": shared, "one": 1}


def add_parameters(p: Parameters) -> None:
    add_text_parameters(p)
    if (inner := p.config.get("moe_intermediate_size")) is not None:
        p.uint32("expert_feed_forward_length", inner)
    if (shared := p.config.get("shared_expert_intermediate_size")) is not None:
        p.uint32("expert_shared_feed_forward_length", shared)


QWEN2_MOE = Family(
    architecture="qwen2moe",
    classes=("Qwen2MoeForCausalLM",),
    tensors=(*_TENSORS, *SHARED_EXPERT),
    sizes=qwen2_sizes,
    adjust=without_tied_output,
    add_parameters=add_parameters,
    add_vocabulary=vocabularies.byte_level,
)
QWEN3_MOE = Family(
    architecture="qwen3moe",
    classes=("Qwen3MoeForCausalLM",),
    tensors=(*_TENSORS, *HEAD_NORMS),
    sizes=qwen3_sizes,
    adjust=without_tied_output,
    add_parameters=add_parameters,
    add_vocabulary=vocabularies.byte_level,
)
