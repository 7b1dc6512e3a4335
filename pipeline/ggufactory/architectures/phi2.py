"""Phi-1, Phi-1.5 and Phi-2: one norm for attention and feed-forward network, biases throughout.

Source: `Phi2Model` of llama.cpp's conversion/phi.py.
"""

from __future__ import annotations

from ggufactory.architectures.common_tensors import EMBEDDINGS, OUTPUT, attention, linear, norm, with_biases
from ggufactory.architectures.configuration import Config, positive_integer
from ggufactory.architectures.family import Family
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.rope import rotated_rows
from ggufactory.architectures.sizes import transformer_sizes
from ggufactory.architectures.tensor_rules import TensorRule
from ggufactory.architectures.tokenizer import vocabularies

TENSORS = (
    EMBEDDINGS,
    OUTPUT,
    *with_biases(
        TensorRule("model.final_layernorm.weight", "output_norm.weight", ("width",)),
        norm("input_layernorm", "attn_norm"),
    ),
    *attention(output="dense"),
    linear("mlp.fc1", "ffn_up", ("inner", "width")),
    linear("mlp.fc2", "ffn_down", ("width", "inner")),
)


def sizes(config: Config) -> dict[str, int]:
    """`intermediate_size` is not read: llama.cpp takes it to be four times the width."""
    return transformer_sizes(config | {"intermediate_size": 4 * _width(config)})


def add_parameters(p: Parameters) -> None:
    width = _width(p.config)
    heads = positive_integer(p.config, "num_attention_heads", "n_head")
    p.uint32("context_length", p.first("n_positions", "max_position_embeddings"))
    p.uint32("embedding_length", width)
    p.uint32("feed_forward_length", 4 * width)
    p.uint32("block_count", p.block_count)
    p.uint32("attention.head_count", heads)
    p.uint32("attention.head_count_kv", heads)
    p.float32("attention.layer_norm_epsilon", p.first("layer_norm_epsilon", "layer_norm_eps"))
    p.uint32("rope.dimension_count", rotated_rows(p.rope, width) // heads)
    p.out.uint32("general.file_type", p.file_type)
    p.out.boolean("tokenizer.ggml.add_bos_token", False)


def _width(config: Config) -> int:
    return positive_integer(config, "hidden_size", "n_embd")


PHI2 = Family(
    architecture="phi2",
    classes=("PhiForCausalLM",),
    tensors=TENSORS,
    sizes=sizes,
    add_parameters=add_parameters,
    add_vocabulary=vocabularies.byte_level,
)
