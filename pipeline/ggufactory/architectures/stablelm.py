"""StableLM 3B, Zephyr, StableLM 2: some with a norm of its own for every head, some without a second norm.

Source: `StableLMModel` of llama.cpp's conversion/stablelm.py.
"""

from __future__ import annotations

from dataclasses import replace

from ggufactory.architectures.common_tensors import (
    EMBEDDINGS,
    LAYER,
    NORMS,
    OUTPUT,
    OUTPUT_NORM,
    attention,
    gated_mlp,
    with_biases,
    without_tied_output,
)
from ggufactory.architectures.configuration import positive_integer
from ggufactory.architectures.family import Family
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.rope import rotated_rows
from ggufactory.architectures.sizes import transformer_sizes
from ggufactory.architectures.tensor_rules import TensorRule
from ggufactory.architectures.tokenizer import vocabularies
from ggufactory.architectures.transforms import Stacked

_ATTENTION_NORM, _FEED_FORWARD_NORM = NORMS


def _head_norms(which: str, heads: str) -> TensorRule:
    return TensorRule(
        f"{LAYER}self_attn.{which}_layernorm.norms.{{expert}}.weight",
        f"blk.{{}}.attn_{which}_norm.weight",
        ("head",),
        Stacked(),
        optional=True,
        experts=heads,
    )


TENSORS = (
    EMBEDDINGS,
    OUTPUT,
    *with_biases(OUTPUT_NORM, _ATTENTION_NORM, replace(_FEED_FORWARD_NORM, optional=True)),
    _head_norms("q", "heads"),
    _head_norms("k", "kv_heads"),
    *attention(),
    *gated_mlp(),
)


def add_parameters(p: Parameters) -> None:
    p.uint32("context_length", p.config.get("max_position_embeddings"))
    p.uint32("embedding_length", p.config.get("hidden_size"))
    p.uint32("block_count", p.block_count)
    p.uint32("feed_forward_length", p.config.get("intermediate_size"))
    head = positive_integer(p.config, "hidden_size") // positive_integer(p.config, "num_attention_heads")
    p.uint32("rope.dimension_count", rotated_rows(p.rope, head))
    p.uint32("attention.head_count", p.config.get("num_attention_heads"))
    p.uint32("attention.head_count_kv", p.config.get("num_key_value_heads"))
    p.boolean("use_parallel_residual", p.config.get("use_parallel_residual", True))
    p.float32("attention.layer_norm_epsilon", p.first("layer_norm_eps", "norm_eps"))
    p.out.uint32("general.file_type", p.file_type)


STABLELM = Family(
    architecture="stablelm",
    classes=("StableLmForCausalLM", "StableLMEpochForCausalLM", "LlavaStableLMEpochForCausalLM"),
    tensors=TENSORS,
    sizes=transformer_sizes,
    adjust=without_tied_output,
    add_parameters=add_parameters,
    add_vocabulary=vocabularies.byte_level,
)
