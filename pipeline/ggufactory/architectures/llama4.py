"""The text models of Llama 4: experts stored transposed, gate and up columns in one tensor.

Source: `Llama4Model` of llama.cpp's conversion/llama.py.
"""

from __future__ import annotations

from ggufactory.architectures import llama
from ggufactory.architectures.common_tensors import (
    LAYER,
    MODEL,
    NORMS,
    attention,
    gated_mlp,
    linear,
    without_tied_output,
)
from ggufactory.architectures.configuration import Config, block_count
from ggufactory.architectures.expert_sizes import expert_sizes, whole_number
from ggufactory.architectures.family import Family
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.sizes import transformer_sizes
from ggufactory.architectures.tensor_rules import EVERY_LAYER, Layers, TensorRule
from ggufactory.architectures.tokenizer import vocabularies
from ggufactory.architectures.transforms import Sizes, Transform, Transposed
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError

_HALVES = ("expert_inner", "expert_inner")


def _experts(source: str, name: str, shape: tuple[str, ...], transform: Transform) -> TensorRule:
    return TensorRule(
        f"{LAYER}feed_forward.experts.{source}", f"blk.{{}}.{name}.weight", shape, transform, layers="sparse"
    )


_EXPERTS = (
    linear("feed_forward.router", "ffn_gate_inp", ("experts", "width"), layers="sparse", bias=False),
    _experts("gate_up_proj", "ffn_gate_exps", ("experts", "width", "gate_up"), Transposed(0, _HALVES)),
    _experts("gate_up_proj", "ffn_up_exps", ("experts", "width", "gate_up"), Transposed(1, _HALVES)),
    _experts("down_proj", "ffn_down_exps", ("experts", "expert_inner", "width"), Transposed()),
    *gated_mlp("feed_forward.shared_expert", name="ffn_{}_shexp", inner="expert_inner", layers="sparse"),
)


def settle(config: Config) -> Config:
    """`intermediate_size` is the experts', that of dense blocks has a name of its own: as in other models again."""
    return config | {
        "intermediate_size_moe": config.get("intermediate_size"),
        "intermediate_size": config.get("intermediate_size_mlp"),
    }


def sizes(config: Config) -> Sizes:
    return transformer_sizes(config) | expert_sizes(config, inner="intermediate_size_moe")


def layers(config: Config) -> Layers:
    """Those with experts are listed, or every `interleave_moe_layer_step`-th."""
    count = block_count(config)
    sparse = config.get("moe_layers")
    if sparse is None:
        step = whole_number(config, "interleave_moe_layer_step", 1) or count + 1
        sparse = list(range(step - 1, count, step))
    if not isinstance(sparse, list) or not all(type(block) is int and 0 <= block < count for block in sparse):
        raise InputError(f"config.json: moe_layers is {clip(sparse)}, wanted numbers of its {count} layers")
    return {EVERY_LAYER: range(count), "sparse": set(sparse), "dense": set(range(count)).difference(sparse)}


def add_parameters(p: Parameters) -> None:
    llama.add_parameters(p)
    p.uint32("interleave_moe_layer_step", p.config.get("interleave_moe_layer_step"))
    p.uint32("expert_feed_forward_length", p.config.get("intermediate_size_moe"))
    kinds = p.config.get("layer_types")
    if isinstance(kinds, list) and all(kind == "full_attention" for kind in kinds):
        p.uint32("attention.sliding_window", 0)


LLAMA4 = Family(
    architecture="llama4",
    classes=("Llama4ForCausalLM", "Llama4ForConditionalGeneration"),
    tensors=(*MODEL, *NORMS, *attention(), *gated_mlp("feed_forward", layers="dense"), *_EXPERTS),
    sizes=sizes,
    settle=settle,
    layers=layers,
    adjust=without_tied_output,
    computed=llama.computed,
    add_parameters=add_parameters,
    add_vocabulary=vocabularies.byte_level,
)
