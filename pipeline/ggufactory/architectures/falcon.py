"""Falcon 7B, 40B, 180B and Falcon 2: queries, keys and values in one matrix, by groups of heads.

Source: `FalconModel` of llama.cpp's conversion/falcon.py.
"""

from __future__ import annotations

from ggufactory.architectures.common_tensors import with_biases, without_tied_output
from ggufactory.architectures.configuration import Config, first_of, positive_integer
from ggufactory.architectures.family import Family
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.sizes import MAX_HEAD_DIM
from ggufactory.architectures.tensor_rules import TensorRule
from ggufactory.architectures.tokenizer import vocabularies
from ggufactory.architectures.transforms import Regrouped, Sizes
from ggufactory.errors import InputError

CONTEXT_LENGTH = 2048
"""Which config.json did not hold."""
_HEADS = ("num_attention_heads", "n_head")
_KV_HEADS = ("num_kv_heads", "n_head_kv")
_BLOCK = "transformer.h.{}."
_NORMS = (
    TensorRule(_BLOCK + "ln_mlp.weight", "blk.{}.attn_norm.weight", ("width",)),
    TensorRule(_BLOCK + "input_layernorm.weight", "blk.{}.attn_norm.weight", ("width",)),
    TensorRule(_BLOCK + "ln_attn.weight", "blk.{}.attn_norm_2.weight", ("width",), optional=True),
    TensorRule("transformer.ln_f.weight", "output_norm.weight", ("width",)),
)
TENSORS = (
    TensorRule("transformer.word_embeddings.weight", "token_embd.weight", ("vocabulary", "width")),
    TensorRule("lm_head.weight", "output.weight", ("vocabulary", "width")),
    *with_biases(*_NORMS),
    TensorRule(
        _BLOCK + "self_attention.query_key_value.weight",
        "blk.{}.attn_qkv.weight",
        ("qkv", "width"),
        Regrouped("kv_heads", ("group", "head", "head")),
    ),
    TensorRule(_BLOCK + "self_attention.dense.weight", "blk.{}.attn_output.weight", ("width", "width")),
    TensorRule(_BLOCK + "mlp.dense_h_to_4h.weight", "blk.{}.ffn_up.weight", ("inner", "width")),
    TensorRule(_BLOCK + "mlp.dense_4h_to_h.weight", "blk.{}.ffn_down.weight", ("width", "inner")),
)


def settle(config: Config) -> Config:
    """Multi-query attention has one key and value head, whatever number the configuration's class fills in."""
    of_first_models = config.get("multi_query") is True and config.get("new_decoder_architecture") is False
    kv_heads = 1 if of_first_models else first_of(config, *_KV_HEADS)
    tied = {"tie_word_embeddings": True}  # where the first configurations do not say
    return tied | config | {"num_kv_heads": 1 if kv_heads is None else kv_heads}


def sizes(config: Config) -> Sizes:
    width = positive_integer(config, "hidden_size")
    heads = positive_integer(config, *_HEADS)
    kv_heads = positive_integer(config, "num_kv_heads")
    head = width // heads
    if width % heads or heads % kv_heads or head > MAX_HEAD_DIM:
        raise InputError(
            f"config.json: {heads} attention heads do not fit hidden_size {width} and {kv_heads} key and value heads"
        )
    return {
        "vocabulary": positive_integer(config, "vocab_size"),
        "width": width,
        "inner": 4 * width,
        "head": head,
        "kv_heads": kv_heads,
        "group": heads // kv_heads * head,
        "qkv": width + 2 * kv_heads * head,
    }


def add_parameters(p: Parameters) -> None:
    width = positive_integer(p.config, "hidden_size")
    p.uint32("context_length", CONTEXT_LENGTH)
    p.text("tensor_data_layout", "jploski")
    p.uint32("embedding_length", width)
    p.uint32("feed_forward_length", 4 * width)
    p.uint32("block_count", p.block_count)
    p.uint32("attention.head_count", p.first(*_HEADS))
    p.uint32("attention.head_count_kv", p.config["num_kv_heads"])
    p.float32("attention.layer_norm_epsilon", p.config.get("layer_norm_epsilon"))
    p.out.uint32("general.file_type", p.file_type)


FALCON = Family(
    architecture="falcon",
    classes=("FalconForCausalLM", "RWForCausalLM"),
    tensors=TENSORS,
    sizes=sizes,
    settle=settle,
    adjust=without_tied_output,
    add_parameters=add_parameters,
    add_vocabulary=vocabularies.byte_level,
)
