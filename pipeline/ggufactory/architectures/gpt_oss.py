"""gpt-oss: gate and up rows of experts take turns; a sink beside the attention of each head.

Experts are published in MXFP4, whose blocks are kept; plain ones are stored transposed. Source: `GptOssModel`
of llama.cpp's conversion/gpt_oss.py.
"""

from __future__ import annotations

from ggufactory.architectures.common_tensors import LAYER, MODEL, attention, linear, norm, without_tied_output
from ggufactory.architectures.configuration import Config
from ggufactory.architectures.expert_sizes import expert_sizes
from ggufactory.architectures.family import Family
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.sizes import transformer_sizes
from ggufactory.architectures.tensor_rules import TensorRule
from ggufactory.architectures.text_parameters import add_text_parameters
from ggufactory.architectures.tokenizer import vocabularies
from ggufactory.architectures.transforms import (
    AsIs,
    EveryOther,
    EveryOtherColumn,
    Sizes,
    Transform,
    Transposed,
    TransposedEveryOther,
)


def _experts(source: str, name: str, shape: tuple[str, ...], transform: Transform = AsIs()) -> TensorRule:  # noqa: B008
    return TensorRule(f"{LAYER}mlp.experts.{source}", f"blk.{{}}.{name}", shape, transform)


_PACKED = (
    _experts("gate_up_proj.weight", "ffn_gate_exps.weight", ("experts", "gate_up", "width"), EveryOther(0)),
    _experts("gate_up_proj.weight", "ffn_up_exps.weight", ("experts", "gate_up", "width"), EveryOther(1)),
    _experts("down_proj.weight", "ffn_down_exps.weight", ("experts", "width", "expert_inner")),
)
_PLAIN = (
    _experts("gate_up_proj", "ffn_gate_exps.weight", ("experts", "width", "gate_up"), TransposedEveryOther(0)),
    _experts("gate_up_proj", "ffn_up_exps.weight", ("experts", "width", "gate_up"), TransposedEveryOther(1)),
    _experts("down_proj", "ffn_down_exps.weight", ("experts", "expert_inner", "width"), Transposed()),
)
_BIASES = (
    _experts("gate_up_proj_bias", "ffn_gate_exps.bias", ("experts", "gate_up"), EveryOtherColumn(0)),
    _experts("gate_up_proj_bias", "ffn_up_exps.bias", ("experts", "gate_up"), EveryOtherColumn(1)),
    _experts("down_proj_bias", "ffn_down_exps.bias", ("experts", "width")),
)


def sizes(config: Config) -> Sizes:
    return transformer_sizes(config) | expert_sizes(config, inner="intermediate_size")


def add_parameters(p: Parameters) -> None:
    add_text_parameters(p)
    p.uint32("attention.sliding_window", p.config.get("sliding_window"))
    p.uint32("expert_feed_forward_length", p.config.get("intermediate_size"))


GPT_OSS = Family(
    architecture="gpt-oss",
    classes=("GptOssForCausalLM",),
    tensors=(
        *(*MODEL, *attention()),
        TensorRule(LAYER + "self_attn.sinks", "blk.{}.attn_sinks.weight", ("heads",)),
        norm("input_layernorm", "attn_norm"),
        norm("post_attention_layernorm", "post_attention_norm"),
        linear("mlp.router", "ffn_gate_inp", ("experts", "width")),
        *(*_PACKED, *_PLAIN, *_BIASES),
    ),
    sizes=sizes,
    adjust=without_tied_output,
    add_parameters=add_parameters,
    add_vocabulary=vocabularies.byte_level,
)
