"""LFM 2: short convolutions in most blocks, attention in the others.

Source: `LFM2Model` of llama.cpp's conversion/lfm2.py.
"""

from __future__ import annotations

from dataclasses import replace

from ggufactory.architectures.common_tensors import (
    EMBEDDINGS,
    LAYER,
    OUTPUT,
    attention,
    linear,
    norm,
    without_tied_output,
)
from ggufactory.architectures.configuration import Config, block_count, positive_integer
from ggufactory.architectures.family import Family
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.sizes import transformer_sizes
from ggufactory.architectures.tensor_rules import EVERY_LAYER, Layers, TensorRule
from ggufactory.architectures.text_parameters import add_text_parameters
from ggufactory.architectures.tokenizer import vocabularies
from ggufactory.architectures.transforms import Reshaped, Sizes
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError

_MAX_MULTIPLIER = 1000
_ATTENTION, _CONVOLUTION = "attention", "convolution"
_HEAD_NORMS = (
    norm("self_attn.q_layernorm", "attn_q_norm", "head"),
    norm("self_attn.k_layernorm", "attn_k_norm", "head"),
)
TENSORS = (
    EMBEDDINGS,
    OUTPUT,
    TensorRule("model.embedding_norm.weight", "token_embd_norm.weight", ("width",)),
    norm("operator_norm", "attn_norm"),
    norm("ffn_norm", "ffn_norm"),
    linear("feed_forward.w1", "ffn_gate", ("inner", "width")),
    linear("feed_forward.w2", "ffn_down", ("width", "inner")),
    linear("feed_forward.w3", "ffn_up", ("inner", "width")),
    *(replace(rule, layers=_ATTENTION) for rule in (*attention(output="out_proj"), *_HEAD_NORMS)),
    TensorRule(
        LAYER + "conv.conv.weight",
        "blk.{}.shortconv.conv.weight",
        ("width", "one", "taps"),
        Reshaped(("width", "taps")),
        layers=_CONVOLUTION,
    ),
    linear("conv.in_proj", "shortconv.in_proj", ("three_widths", "width"), layers=_CONVOLUTION),
    linear("conv.out_proj", "shortconv.out_proj", ("width", "width"), layers=_CONVOLUTION),
)


def sizes(config: Config) -> Sizes:
    usual = transformer_sizes(config)
    return usual | {
        "inner": feed_forward_length(config),
        "three_widths": 3 * usual["width"],
        "one": 1,
        "taps": positive_integer(config, "conv_L_cache"),
    }


def feed_forward_length(config: Config) -> int:
    """Two thirds of what config.json says, in whole multiples of a number, unless it forbids that."""
    length = positive_integer(config, "block_ff_dim", "intermediate_size")
    if not config.get("block_auto_adjust_ff_dim"):
        return length
    length = int(2 * length / 3)
    if (multiplier := config.get("block_ffn_dim_multiplier")) is not None:
        if not isinstance(multiplier, int | float) or not 0 < multiplier < _MAX_MULTIPLIER:
            raise InputError(f"config.json: block_ffn_dim_multiplier is {clip(multiplier)}, wanted a positive number")
        length = int(multiplier * length)
    multiple = positive_integer(config, "block_multiple_of")
    return multiple * ((length + multiple - 1) // multiple)


def layers(config: Config) -> Layers:
    every = range(block_count(config))
    convolutions = {layer for layer, kind in enumerate(_layer_types(config)) if kind == "conv"}
    return {EVERY_LAYER: every, _CONVOLUTION: convolutions, _ATTENTION: set(every) - convolutions}


def add_parameters(p: Parameters) -> None:
    heads = p.config.get("num_key_value_heads")
    by_layer = [0 if kind == "conv" else heads for kind in _layer_types(p.config)]
    add_text_parameters(replace(p, config=p.config | {"num_key_value_heads": by_layer}))
    p.uint32("vocab_size", p.config.get("vocab_size"))
    p.uint32("shortconv.l_cache", p.config.get("conv_L_cache"))
    p.float32("attention.layer_norm_rms_epsilon", p.config.get("norm_eps"))
    p.uint32("feed_forward_length", feed_forward_length(p.config))


def _layer_types(config: Config) -> list[object]:
    types = config.get("layer_types")
    if not isinstance(types, list) or len(types) != block_count(config):
        raise InputError(f"config.json: layer_types is {clip(types)}, wanted one for each layer")
    return types


LFM2 = Family(
    architecture="lfm2",
    classes=("Lfm2ForCausalLM", "LFM2ForCausalLM"),
    tensors=TENSORS,
    sizes=sizes,
    layers=layers,
    adjust=without_tied_output,
    add_parameters=add_parameters,
    add_vocabulary=vocabularies.byte_level,
)
