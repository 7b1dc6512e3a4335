"""Phi-3, Phi-3.5 mini, Phi-4 and Phi-4 mini: one matrix for queries, keys and values, one for gate and up.

Source: `Phi3MiniModel` of llama.cpp's conversion/phi.py.
"""

from __future__ import annotations

from ggufactory.architectures.common_tensors import MODEL, NORMS, linear, without_tied_output
from ggufactory.architectures.configuration import Config
from ggufactory.architectures.family import Family
from ggufactory.architectures.longrope import add_longrope_attention_factor, longrope_factors, rotary_size
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.sizes import transformer_sizes
from ggufactory.architectures.tokenizer import vocabularies
from ggufactory.architectures.transforms import Sizes

TENSORS = (
    *MODEL,
    *NORMS,
    linear("self_attn.qkv_proj", "attn_qkv", ("qkv", "width")),
    linear("self_attn.o_proj", "attn_output", ("width", "queries")),
    linear("mlp.gate_up_proj", "ffn_up", ("gate_up", "width")),
    linear("mlp.down_proj", "ffn_down", ("width", "inner")),
)


def sizes(config: Config) -> Sizes:
    usual = transformer_sizes(config)
    return usual | {"qkv": usual["queries"] + 2 * usual["keys"], "gate_up": 2 * usual["inner"]}


def add_parameters(p: Parameters) -> None:
    p.uint32("context_length", p.first("n_positions", "max_position_embeddings"))
    p.uint32("rope.scaling.original_context_length", p.rope.get("original_max_position_embeddings"))
    p.uint32("embedding_length", p.first("hidden_size", "n_embd"))
    p.uint32("feed_forward_length", p.config.get("intermediate_size"))
    p.uint32("block_count", p.block_count)
    p.uint32("attention.head_count", p.first("num_attention_heads", "n_head"))
    p.uint32("attention.head_count_kv", p.first("num_key_value_heads", "n_head_kv"))
    p.float32("attention.layer_norm_rms_epsilon", p.config.get("rms_norm_eps"))
    p.uint32("rope.dimension_count", rotary_size(p.config))
    p.float32("rope.freq_base", p.full_rope.get("rope_theta"))
    p.out.uint32("general.file_type", p.file_type)
    # Zero tells llama.cpp that this is Phi-4, which has none.
    p.uint32("attention.sliding_window", p.config.get("sliding_window") or 0)


PHI3 = Family(
    architecture="phi3",
    classes=("Phi3ForCausalLM", "Phi4ForCausalLMV"),
    tensors=TENSORS,
    sizes=sizes,
    adjust=without_tied_output,
    computed=longrope_factors,
    add_early_parameters=add_longrope_attention_factor,
    add_parameters=add_parameters,
    add_vocabulary=vocabularies.phi3,
)
