"""Phi-3.5 MoE: LayerNorms with biases, and biases of all projections but the experts'.

Source: `PhiMoeModel` of llama.cpp's conversion/phi.py.
"""

from __future__ import annotations

from ggufactory.architectures import phi3
from ggufactory.architectures.common_tensors import (
    EMBEDDINGS,
    NORMS,
    OUTPUT,
    OUTPUT_NORM,
    attention,
    linear,
    stacked_experts,
    with_biases,
    without_tied_output,
)
from ggufactory.architectures.configuration import Config
from ggufactory.architectures.expert_sizes import EXPERT_COUNTS, expert_sizes
from ggufactory.architectures.family import Family
from ggufactory.architectures.longrope import add_longrope_attention_factor, longrope_factors
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.sizes import transformer_sizes
from ggufactory.architectures.tokenizer import vocabularies
from ggufactory.architectures.transforms import Sizes


def sizes(config: Config) -> Sizes:
    return transformer_sizes(config) | expert_sizes(config, inner="intermediate_size")


def add_parameters(p: Parameters) -> None:
    phi3.add_parameters(p)
    p.uint32("expert_used_count", p.first("num_experts_per_tok", "num_experts_per_token"))
    p.uint32("expert_count", p.first(*EXPERT_COUNTS))


PHIMOE = Family(
    architecture="phimoe",
    classes=("PhiMoEForCausalLM",),
    tensors=(
        *(EMBEDDINGS, OUTPUT),
        *with_biases(OUTPUT_NORM, *NORMS),
        *attention(),
        linear("block_sparse_moe.gate", "ffn_gate_inp", ("experts", "width"), bias=False),
        *stacked_experts("block_sparse_moe.experts", projections=("w1", "w3", "w2")),
    ),
    sizes=sizes,
    adjust=without_tied_output,
    computed=longrope_factors,
    add_early_parameters=add_longrope_attention_factor,
    add_parameters=add_parameters,
    add_vocabulary=vocabularies.phi3,
)
