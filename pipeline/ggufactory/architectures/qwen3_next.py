"""Qwen3-Next: gated delta networks in most blocks, gated attention in the others, experts in all.

Source: `Qwen3NextModel` of llama.cpp's conversion/qwen.py.
"""

from __future__ import annotations

from dataclasses import replace

from ggufactory.architectures import nextn, qwen_moe
from ggufactory.architectures.common_tensors import (
    EMBEDDINGS,
    HEAD_NORMS,
    LAYER,
    OUTPUT,
    OUTPUT_NORM,
    attention,
    changed,
    norm,
    without_tied_output,
)
from ggufactory.architectures.configuration import Config, positive_integer
from ggufactory.architectures.expert_sizes import whole_number
from ggufactory.architectures.family import Family
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.rope import rotated_rows
from ggufactory.architectures.sizes import head_dim
from ggufactory.architectures.tensor_names import block_of, text_name
from ggufactory.architectures.tensor_rules import EVERY_LAYER, Layers, TensorRule
from ggufactory.architectures.tokenizer import vocabularies
from ggufactory.architectures.transforms import Regrouped, Reshaped, Sizes
from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError

_LINEAR, _FULL = "linear", "full"
_ROTATED = {"partial_rotary_factor": 0.25}
"""Of each head, where config.json does not say."""
_FULL_EVERY = 4
_FURTHER_TENSORS = {
    "mtp.fc.": "eh_proj.",
    "mtp.pre_fc_norm_embedding.": "enorm.",
    "mtp.pre_fc_norm_hidden.": "hnorm.",
    "mtp.norm.": "shared_head.norm.",
}
"""What stands around the layers that predict further tokens; it goes to the first of them."""
_FURTHER_LAYERS = "mtp.layers."

_GROUP = ("head_keys", "head_keys", "group_values", "group_values")
"""Rows of each key head: queries, keys, values and what gates the output."""


def _delta(source: str, name: str, shape: tuple[str, ...]) -> TensorRule:
    return TensorRule(f"{LAYER}linear_attn.{source}", f"blk.{{}}.{name}", shape, layers=_LINEAR)


_DELTA_NETWORK = (
    replace(
        _delta("in_proj_qkvz.weight", "attn_qkv.weight", ("qkvz", "width")),
        transform=Regrouped("key_heads", _GROUP, taken=(0, 1, 2)),
    ),
    replace(
        _delta("in_proj_qkvz.weight", "attn_gate.weight", ("qkvz", "width")),
        transform=Regrouped("key_heads", _GROUP, taken=(3,)),
    ),
    _delta("in_proj_ba.weight", "ssm_ba.weight", ("value_heads_twice", "width")),
    replace(
        _delta("conv1d.weight", "ssm_conv1d.weight", ("channels", "one", "taps")),
        transform=Reshaped(("channels", "taps")),
    ),
    replace(_delta("A_log", "ssm_a", ("value_heads",)), value_map="negative_exponential"),
    _delta("dt_bias", "ssm_dt.bias", ("value_heads",)),
    _delta("norm.weight", "ssm_norm.weight", ("head_values",)),
    _delta("out_proj.weight", "ssm_out.weight", ("width", "values")),
)
_GATED_ATTENTION = tuple(
    replace(rule, shape=("queries_twice", "width") if rule.name == "blk.{}.attn_q.weight" else rule.shape, layers=_FULL)
    for rule in (*attention(), *changed("add_one", *HEAD_NORMS))
)
_NORMS = changed(
    "add_one",
    OUTPUT_NORM,
    norm("input_layernorm", "attn_norm"),
    norm("post_attention_layernorm", "post_attention_norm"),
)
_NEXTN = tuple(
    replace(rule, value_map="add_one") if rule.source.endswith("norm.weight") else rule for rule in nextn.NEXTN_TENSORS
)


def from_files(config: Config, checkpoint: Checkpoint) -> Config:
    """With the layers that predict further tokens: only the tensors' names tell how many."""
    numbers = [_further_layer(name.removeprefix("model.")) for name in checkpoint.tensors]
    count = max((number + 1 for number in numbers if number is not None), default=0)
    return nextn.with_nextn_layers(config, count, stored=True)


def rename(name: str, config: Config) -> str | None:
    """The layers that predict further tokens, numbered on from the model's."""
    known = text_name(name, config)
    if known is None:
        return None
    main = nextn.main_layers(config)
    own = known.removeprefix("model.") if known.startswith("model.mtp.") else known
    if (number := _further_layer(own)) is not None:
        rest = own.removeprefix(f"{_FURTHER_LAYERS}{number}.")
        return f"model.layers.{main + number}.{rest}"
    for prefix, found in _FURTHER_TENSORS.items():
        if own.startswith(prefix):
            return f"model.layers.{main}.{found}{own.removeprefix(prefix)}"
    return known


def _further_layer(name: str) -> int | None:
    """N of "mtp.layers.N…"."""
    return block_of(f"model.{name.removeprefix('mtp.')}") if name.startswith(_FURTHER_LAYERS) else None


def layers(config: Config) -> Layers:
    """Those that predict further tokens attend to everything."""
    every = nextn.stored_blocks(config)
    recurrent = {block for block, is_recurrent in enumerate(_recurrent(config)) if is_recurrent}
    return {
        EVERY_LAYER: every,
        _LINEAR: recurrent,
        _FULL: set(every) - recurrent,
        nextn.NEXTN: nextn.stored_nextn_blocks(config),
    }


def _recurrent(config: Config) -> list[bool]:
    """Which of the model's layers are delta networks."""
    main = nextn.main_layers(config)
    kinds = config.get("layer_types")
    if not isinstance(kinds, list) or len(kinds) != main:
        raise InputError(f"config.json: layer_types is {clip(kinds)}, wanted one for each of its {main} layers")
    return [kind == "linear_attention" for kind in kinds]


def sizes(config: Config) -> Sizes:
    found = qwen_moe.qwen2_sizes(config)
    head_keys, head_values, key_heads, value_heads = (
        positive_integer(config, f"linear_{name}")
        for name in ("key_head_dim", "value_head_dim", "num_key_heads", "num_value_heads")
    )
    keys, values = head_keys * key_heads, head_values * value_heads
    if value_heads % key_heads:
        raise InputError(
            f"config.json: linear_num_value_heads is {value_heads}, wanted a multiple of {key_heads} key heads"
        )
    return {
        **found,
        "width_twice": 2 * found["width"],
        "queries_twice": 2 * found["queries"],
        "head_keys": head_keys,
        "head_values": head_values,
        "key_heads": key_heads,
        "group_values": values // key_heads,
        "value_heads": value_heads,
        "value_heads_twice": 2 * value_heads,
        "values": values,
        "qkvz": 2 * (keys + values),
        "channels": 2 * keys + values,
        "taps": positive_integer(config, "linear_conv_kernel_dim"),
    }


def add_parameters(p: Parameters) -> None:
    qwen_moe.add_parameters(p)
    if further := nextn.nextn_layers(p.config):
        p.uint32("nextn_predict_layers", further)
    size = sizes(p.config)
    p.uint32("ssm.conv_kernel", size["taps"])
    p.uint32("ssm.state_size", size["head_keys"])
    p.uint32("ssm.group_count", size["key_heads"])
    p.uint32("ssm.time_step_rank", size["value_heads"])
    p.uint32("ssm.inner_size", size["values"])
    p.booleans("attention.recurrent_layers", _recurrent(p.config) + [False] * further)
    p.uint32("full_attention_interval", whole_number(p.config, "full_attention_interval", _FULL_EVERY))
    p.uint32("rope.dimension_count", rotated_rows(_ROTATED | p.rope, head_dim(p.config)))


QWEN3_NEXT = Family(
    architecture="qwen3next",
    classes=("Qwen3NextForCausalLM",),
    tensors=(
        *(EMBEDDINGS, OUTPUT, *_NORMS),
        *(*_DELTA_NETWORK, *_GATED_ATTENTION),
        *(*qwen_moe.EXPERTS, *qwen_moe.SHARED_EXPERT, *_NEXTN),
    ),
    sizes=sizes,
    from_files=from_files,
    layers=layers,
    rename=rename,
    adjust=without_tied_output,
    add_parameters=add_parameters,
    add_vocabulary=vocabularies.byte_level,
)
