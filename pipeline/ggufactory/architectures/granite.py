"""Granite 3, dense and with experts: Llama with multipliers.

Source: `GraniteModel` and `GraniteMoeModel` of llama.cpp's conversion/granite.py.
"""

from __future__ import annotations

from ggufactory.architectures import llama
from ggufactory.architectures.common_tensors import (
    MODEL,
    NORMS,
    attention,
    gated_mlp,
    linear,
    without_tied_output,
)
from ggufactory.architectures.configuration import Config, positive_integer
from ggufactory.architectures.expert_sizes import expert_sizes
from ggufactory.architectures.family import Family
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.sizes import transformer_sizes
from ggufactory.architectures.tensor_rules import TensorRule
from ggufactory.architectures.tokenizer import vocabularies
from ggufactory.architectures.transforms import RowsOf, Sizes

_MULTIPLIERS = (
    ("attention.scale", "attention_multiplier"),
    ("embedding_scale", "embedding_multiplier"),
    ("residual_scale", "residual_multiplier"),
    ("logit_scale", "logits_scaling"),
)
_COMMON = (*MODEL, *NORMS, *attention(rope_pairs=True))
_GATE_AND_UP = ("expert_inner", "expert_inner")
_MIXTURE = (
    linear("block_sparse_moe.router.layer", "ffn_gate_inp", ("experts", "width"), bias=False),
    *(
        linear(
            "block_sparse_moe.input_linear",
            f"ffn_{which}_exps",
            ("experts", "gate_up", "width"),
            RowsOf(part, _GATE_AND_UP),
            bias=False,
        )
        for part, which in enumerate(("gate", "up"))
    ),
    linear("block_sparse_moe.output_linear", "ffn_down_exps", ("experts", "width", "expert_inner"), bias=False),
)


_HALVES = ("shared_inner", "shared_inner")
_SHARED_MLP = (
    *(
        linear(
            "shared_mlp.input_linear",
            f"ffn_{which}_shexp",
            ("shared_gate_up", "width"),
            RowsOf(part, _HALVES),
            bias=False,
        )
        for part, which in enumerate(("gate", "up"))
    ),
    linear("shared_mlp.output_linear", "ffn_down_shexp", ("width", "shared_inner"), bias=False),
)
"""What every token goes through."""


def settle(config: Config) -> Config:
    """Granite's heads are as wide as the model divided by their number, whatever config.json says."""
    return {name: value for name, value in config.items() if name != "head_dim"}


def mixture_sizes(config: Config) -> Sizes:
    found = transformer_sizes(config) | expert_sizes(config, inner="intermediate_size")
    if config.get("shared_intermediate_size"):
        shared = positive_integer(config, "shared_intermediate_size")
        found |= {"shared_inner": shared, "shared_gate_up": 2 * shared}
    return found


def adjust_mixture(rules: tuple[TensorRule, ...], config: Config) -> tuple[TensorRule, ...]:
    return without_tied_output((*rules, *(_SHARED_MLP if config.get("shared_intermediate_size") else ())), config)


def add_parameters(p: Parameters) -> None:
    llama.add_parameters(p)
    for key, name in _MULTIPLIERS:
        if value := p.config.get(name):
            p.float32(key, value)


def add_mixture_parameters(p: Parameters) -> None:
    add_parameters(p)
    if shared := p.config.get("shared_intermediate_size"):
        p.uint32("expert_shared_feed_forward_length", shared)


GRANITE = Family(
    architecture="granite",
    classes=("GraniteForCausalLM",),
    tensors=(*_COMMON, *gated_mlp()),
    sizes=transformer_sizes,
    settle=settle,
    adjust=without_tied_output,
    computed=llama.computed,
    add_parameters=add_parameters,
    add_vocabulary=vocabularies.llama,
)
GRANITE_MOE = Family(
    architecture="granitemoe",
    classes=("GraniteMoeForCausalLM", "GraniteMoeSharedForCausalLM"),
    tensors=(*_COMMON, *_MIXTURE),
    sizes=mixture_sizes,
    settle=settle,
    adjust=adjust_mixture,
    computed=llama.computed,
    add_parameters=add_mixture_parameters,
    add_vocabulary=vocabularies.llama,
)
