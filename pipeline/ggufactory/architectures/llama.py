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
from ggufactory.architectures.key_values import KeyValues
from ggufactory.architectures.model import OutputTensor
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.rope import full_attention, llama3_factors, rope_parameters
from ggufactory.architectures.sizes import head_dim, transformer_sizes
from ggufactory.architectures.tensor_rules import TensorRule
from ggufactory.architectures.text_parameters import add_text_parameters
from ggufactory.architectures.tokenizer.choice import add_first_vocabulary
from ggufactory.architectures.tokenizer.files import TokenizerFiles
from ggufactory.architectures.tokenizer.special_tokens import add_special_tokens
from ggufactory.architectures.transforms import Sizes

CODE_LLAMA_VOCABULARY = 32016
_CODE_LLAMA_END_OF_INFILL = 32010
GRANITE_VOCABULARY = 49152

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


def add_vocabulary(out: KeyValues, files: TokenizerFiles, config: Config) -> None:
    if (add_prefix_space := files.tokenizer_config.get("add_prefix_space")) is not None:
        out.boolean("tokenizer.ggml.add_space_prefix", add_prefix_space)
    add_first_vocabulary(out, files, config)
    vocabulary = config.get("vocab_size", 32000)
    if vocabulary == CODE_LLAMA_VOCABULARY:
        # Of Code Llama's infilling tokens only the one that ends it has a key.
        defaults = {"eot": _CODE_LLAMA_END_OF_INFILL}
        add_special_tokens(out, files, kinds=("prefix", "suffix", "middle", "eot"), defaults=defaults)
    if vocabulary == GRANITE_VOCABULARY:
        out.boolean("tokenizer.ggml.add_bos_token", False)


LLAMA = Family(
    architecture="llama",
    classes=("LlamaForCausalLM", "LLaMAForCausalLM", "MistralForCausalLM", "MixtralForCausalLM"),
    tensors=(*MODEL, *NORMS, *attention(rope_pairs=True)),
    sizes=sizes,
    adjust=adjust,
    computed=computed,
    add_parameters=add_parameters,
    add_vocabulary=add_vocabulary,
    refused={"draft_vocab_size": _DRAFT, "transformer_layer_config": _DRAFT},
)
