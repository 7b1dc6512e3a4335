"""LLaMA 1 and 2, Alpaca, Llama 3.x, Mistral 7B, Mistral Large 2, Mixtral: rotary positions in pairs.

Source: `LlamaModel` of llama.cpp's conversion/llama.py.
"""

from __future__ import annotations

from ggufactory.architectures.common_tensors import (
    LAYER,
    MODEL,
    NORMS,
    attention,
    gated_mlp,
    stacked_experts,
    without_tied_output,
)
from ggufactory.architectures.configuration import Config
from ggufactory.architectures.family import Family
from ggufactory.architectures.model import OutputTensor
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.rope import full_attention, llama3_factors, rope_parameters
from ggufactory.architectures.sizes import head_dim, transformer_sizes
from ggufactory.architectures.tensor_rules import TensorRule
from ggufactory.architectures.text_parameters import add_text_parameters
from ggufactory.architectures.tokenizer import vocabularies
from ggufactory.architectures.transforms import Sizes

DENSE = gated_mlp()
MIXTURE = (
    TensorRule(LAYER + "block_sparse_moe.gate.weight", "blk.{}.ffn_gate_inp.weight", ("experts", "width")),
    *stacked_experts("block_sparse_moe.experts", projections=("w1", "w3", "w2"), inner="inner"),
)
_DRAFT = "draft models are not supported"


def sizes(config: Config) -> Sizes:
    return transformer_sizes(config) | {"experts": config.get("num_local_experts") or 0}


def adjust(rules: tuple[TensorRule, ...], config: Config) -> tuple[TensorRule, ...]:
    return without_tied_output((*rules, *(MIXTURE if config.get("num_local_experts") else DENSE)), config)


def computed(config: Config) -> tuple[OutputTensor, ...]:
    """Llama 3's factors of the rotary frequencies."""
    rope = full_attention(rope_parameters(config))
    if str(rope.get("rope_type", "")).lower() != "llama3":
        return ()
    size = head_dim(config)
    return (OutputTensor("rope_freqs.weight", (size // 2,), "F32", values=llama3_factors(rope, size)),)


def add_parameters(p: Parameters) -> None:
    add_text_parameters(p)
    p.uint32("vocab_size", p.config.get("vocab_size"))
    p.uint32("rope.dimension_count", head_dim(p.config))


LLAMA = Family(
    architecture="llama",
    classes=("LlamaForCausalLM", "LLaMAForCausalLM", "MistralForCausalLM", "MixtralForCausalLM"),
    tensors=(*MODEL, *NORMS, *attention(rope_pairs=True)),
    sizes=sizes,
    adjust=adjust,
    computed=computed,
    add_parameters=add_parameters,
    add_vocabulary=vocabularies.llama,
    refused={"draft_vocab_size": _DRAFT, "transformer_layer_config": _DRAFT},
)
