"""Gemma, CodeGemma and Gemma 2: norms stored as their distance from one, embeddings as the output.

Source: `GemmaModel` and `Gemma2Model` of llama.cpp's conversion/gemma.py.
"""

from __future__ import annotations

from ggufactory.architectures.common_tensors import (
    EMBEDDINGS,
    NORMS,
    OUTPUT_NORM,
    attention,
    changed,
    gated_mlp,
    norm,
)
from ggufactory.architectures.configuration import Config
from ggufactory.architectures.family import Family
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.sizes import transformer_sizes
from ggufactory.architectures.tensor_names import text_name
from ggufactory.architectures.tokenizer import vocabularies

SANDWICH_NORMS = (
    norm("input_layernorm", "attn_norm"),
    norm("post_attention_layernorm", "post_attention_norm"),
    norm("pre_feedforward_layernorm", "ffn_norm"),
    norm("post_feedforward_layernorm", "post_ffw_norm"),
)
"""Before and after attention, before and after the feed-forward network."""
_MATRICES = (*attention(), *gated_mlp())


def rename(name: str, config: Config) -> str | None:
    """Some tools store the embeddings a second time, as an output matrix."""
    return None if name == "lm_head.weight" else text_name(name, config)


def add_parameters(p: Parameters) -> None:
    p.uint32("context_length", p.config.get("max_position_embeddings"))
    p.uint32("embedding_length", p.config.get("hidden_size"))
    p.uint32("block_count", p.block_count)
    p.uint32("feed_forward_length", p.config.get("intermediate_size"))
    p.uint32("attention.head_count", p.config.get("num_attention_heads"))
    p.uint32("attention.head_count_kv", p.first("num_key_value_heads", "num_attention_heads"))
    p.float32("attention.layer_norm_rms_epsilon", p.config.get("rms_norm_eps"))
    p.uint32("attention.key_length", p.config.get("head_dim"))
    p.uint32("attention.value_length", p.config.get("head_dim"))
    p.out.uint32("general.file_type", p.file_type)


def _add_gemma2_parameters(p: Parameters) -> None:
    add_parameters(p)
    p.float32("attn_logit_softcapping", p.config.get("attn_logit_softcapping"))
    p.float32("final_logit_softcapping", p.config.get("final_logit_softcapping"))
    p.uint32("attention.sliding_window", p.config.get("sliding_window"))


GEMMA = Family(
    architecture="gemma",
    classes=("GemmaForCausalLM",),
    tensors=(EMBEDDINGS, *changed("add_one", OUTPUT_NORM, *NORMS), *_MATRICES),
    sizes=transformer_sizes,
    rename=rename,
    add_parameters=add_parameters,
    add_vocabulary=vocabularies.gemma,
)
GEMMA2 = Family(
    architecture="gemma2",
    classes=("Gemma2ForCausalLM",),
    tensors=(EMBEDDINGS, *changed("add_one", OUTPUT_NORM, *SANDWICH_NORMS), *_MATRICES),
    sizes=transformer_sizes,
    rename=rename,
    add_parameters=_add_gemma2_parameters,
    add_vocabulary=vocabularies.gemma2,
)
