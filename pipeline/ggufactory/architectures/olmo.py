"""OLMo 2 and 3, and OLMoE: norms over all query and all key heads together.

Source: `Olmo2Model` and `OlmoeModel` of llama.cpp's conversion/olmo.py.
"""

from __future__ import annotations

from ggufactory.architectures.common_tensors import (
    MODEL,
    NORMS,
    attention,
    gated_mlp,
    linear,
    norm,
    stacked_experts,
    without_tied_output,
)
from ggufactory.architectures.configuration import Config
from ggufactory.architectures.expert_sizes import expert_sizes
from ggufactory.architectures.family import Family
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.sizes import transformer_sizes
from ggufactory.architectures.text_parameters import add_text_parameters
from ggufactory.architectures.tokenizer import vocabularies
from ggufactory.architectures.transforms import Sizes
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError

_ATTENTION = (
    *attention(),
    norm("self_attn.q_norm", "attn_q_norm", "queries"),
    norm("self_attn.k_norm", "attn_k_norm", "keys"),
)
_NORMS_AFTER = (
    norm("post_attention_layernorm", "post_attention_norm"),
    norm("post_feedforward_layernorm", "post_ffw_norm"),
)
_FULL_EVERY = 4
"""OLMo 3, where its configuration does not say: every fourth block attends to everything."""
_OLMOE_EPSILON = 1e-5


def mixture_sizes(config: Config) -> Sizes:
    return transformer_sizes(config) | expert_sizes(config, inner="intermediate_size")


def add_parameters(p: Parameters) -> None:
    """OLMo 3 has windows in most blocks."""
    add_text_parameters(p)
    if "sliding_window" not in p.config:
        return
    p.uint32("attention.sliding_window", p.config["sliding_window"])
    kinds = p.config.get("layer_types", [])
    if not isinstance(kinds, list):
        raise InputError(f"config.json: layer_types is {clip(kinds)}, wanted an array")
    windows = [kind == "sliding_attention" for kind in kinds]
    if "layer_types" not in p.config:
        windows = [(block + 1) % _FULL_EVERY != 0 for block in range(p.block_count)]
    p.booleans("attention.sliding_window_pattern", windows)


def add_mixture_parameters(p: Parameters) -> None:
    add_text_parameters(p)
    p.float32("attention.layer_norm_rms_epsilon", _OLMOE_EPSILON)


OLMO2 = Family(
    architecture="olmo2",
    classes=("Olmo2ForCausalLM", "Olmo3ForCausalLM"),
    tensors=(*MODEL, *_NORMS_AFTER, *_ATTENTION, *gated_mlp()),
    sizes=transformer_sizes,
    adjust=without_tied_output,
    add_parameters=add_parameters,
    add_vocabulary=vocabularies.byte_level,
)
OLMOE = Family(
    architecture="olmoe",
    classes=("OlmoeForCausalLM",),
    tensors=(
        *(*MODEL, *NORMS, *_ATTENTION),
        linear("mlp.gate", "ffn_gate_inp", ("experts", "width"), bias=False),
        *stacked_experts(),
    ),
    sizes=mixture_sizes,
    adjust=without_tied_output,
    add_parameters=add_mixture_parameters,
    add_vocabulary=vocabularies.byte_level,
)
