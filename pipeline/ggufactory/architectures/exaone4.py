"""EXAONE 4: norms behind attention and feed-forward network, not in front of them.

Source: `Exaone4Model` of llama.cpp's conversion/exaone.py.
"""

from __future__ import annotations

from ggufactory.architectures.common_tensors import (
    HEAD_NORMS,
    MODEL,
    attention,
    gated_mlp,
    norm,
    without_tied_output,
)
from ggufactory.architectures.configuration import Config
from ggufactory.architectures.family import Family
from ggufactory.architectures.model import OutputTensor
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.rope import full_attention, llama3_factors, rope_parameters
from ggufactory.architectures.sizes import head_dim, transformer_sizes
from ggufactory.architectures.text_parameters import add_text_parameters
from ggufactory.architectures.tokenizer import vocabularies
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError

TENSORS = (
    *MODEL,
    norm("post_attention_layernorm", "post_attention_norm"),
    norm("post_feedforward_layernorm", "post_ffw_norm"),
    *HEAD_NORMS,
    *attention(),
    *gated_mlp(),
)


_DEFAULT_FACTOR = 16.0


def computed(config: Config) -> tuple[OutputTensor, ...]:
    """The factors of the rotary frequencies, made as Llama 3's."""
    rope = full_attention(rope_parameters(config))
    if str(rope.get("rope_type", "")).lower() != "llama3":
        return ()
    size = head_dim(config)
    values = llama3_factors({"factor": _DEFAULT_FACTOR} | rope, size)
    return (OutputTensor("rope_freqs.weight", (size // 2,), "F32", values=values),)


def add_parameters(p: Parameters) -> None:
    add_text_parameters(p)
    p.uint32("vocab_size", p.config.get("vocab_size"))
    if (window := p.config.get("sliding_window")) is not None:
        p.uint32("attention.sliding_window", window)
        if (sliding := _sliding_layers(p)) is not None:
            p.booleans("attention.sliding_window_pattern", sliding)


def _sliding_layers(p: Parameters) -> list[bool] | None:
    """Of which layers attention is a window; None where config.json does not say."""
    if "layer_types" in p.config:
        kinds = p.config["layer_types"]
        if not isinstance(kinds, list):
            raise InputError(f"config.json: layer_types is {clip(kinds)}, wanted an array")
        return [kind == "sliding_attention" for kind in kinds]
    pattern = p.config.get("sliding_window_pattern")
    layers = range(p.block_count)
    if isinstance(pattern, str) and pattern:
        return [pattern[layer % len(pattern)] == "L" for layer in layers]
    if isinstance(pattern, int) and pattern:
        return [(layer + 1) % pattern != 0 for layer in layers]
    return None


EXAONE4 = Family(
    architecture="exaone4",
    classes=("Exaone4ForCausalLM",),
    tensors=TENSORS,
    sizes=transformer_sizes,
    adjust=without_tied_output,
    computed=computed,
    add_parameters=add_parameters,
    add_vocabulary=vocabularies.byte_level,
)
