"""GPT-2: matrices stored as columns by rows, as its Conv1D layers have them.

Source: `GPT2Model` of llama.cpp's conversion/gpt2.py.
"""

from __future__ import annotations

from ggufactory.architectures.common_tensors import with_biases, without_tied_output
from ggufactory.architectures.configuration import Config, positive_integer
from ggufactory.architectures.family import Family
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.tensor_names import text_name
from ggufactory.architectures.tensor_rules import TensorRule
from ggufactory.architectures.tokenizer import vocabularies
from ggufactory.architectures.transforms import Sizes, Transposed

_MASKS = (".attn.bias", ".attn.masked_bias")
"""Buffers that the first checkpoints hold."""


def _conv1d(source: str, name: str, columns: str, rows: str) -> tuple[TensorRule, TensorRule]:
    """A linear layer of `rows` rows, which is stored transposed, and its bias."""
    return (
        TensorRule(f"h.{{}}.{source}.weight", f"blk.{{}}.{name}.weight", (columns, rows), Transposed()),
        TensorRule(f"h.{{}}.{source}.bias", f"blk.{{}}.{name}.bias", (rows,)),
    )


_NORMS = (
    TensorRule("h.{}.ln_1.weight", "blk.{}.attn_norm.weight", ("width",)),
    TensorRule("h.{}.ln_2.weight", "blk.{}.ffn_norm.weight", ("width",)),
    TensorRule("ln_f.weight", "output_norm.weight", ("width",)),
)
TENSORS = (
    TensorRule("wte.weight", "token_embd.weight", ("vocabulary", "width")),
    TensorRule("wpe.weight", "position_embd.weight", ("positions", "width")),
    TensorRule("lm_head.weight", "output.weight", ("vocabulary", "width")),
    *with_biases(*_NORMS),
    *_conv1d("attn.c_attn", "attn_qkv", "width", "qkv"),
    *_conv1d("attn.c_proj", "attn_output", "width", "width"),
    *_conv1d("mlp.c_fc", "ffn_up", "width", "inner"),
    *_conv1d("mlp.c_proj", "ffn_down", "inner", "width"),
)


def rename(name: str, config: Config) -> str | None:
    """The published checkpoints name tensors without "transformer."."""
    text = text_name(name, config)
    return None if text is None or text.endswith(_MASKS) else text.removeprefix("transformer.")


def sizes(config: Config) -> Sizes:
    width = positive_integer(config, "n_embd")
    return {
        "vocabulary": positive_integer(config, "vocab_size"),
        "positions": positive_integer(config, "n_positions", "n_ctx"),
        "width": width,
        "qkv": 3 * width,
        "inner": 4 * width,
    }


def add_parameters(p: Parameters) -> None:
    width = positive_integer(p.config, "n_embd")
    p.uint32("block_count", p.block_count)
    p.uint32("context_length", p.config.get("n_ctx"))
    p.uint32("embedding_length", width)
    p.uint32("feed_forward_length", 4 * width)
    p.uint32("attention.head_count", p.config.get("n_head"))
    p.float32("attention.layer_norm_epsilon", p.config.get("layer_norm_epsilon"))
    p.out.uint32("general.file_type", p.file_type)


GPT2 = Family(
    architecture="gpt2",
    classes=("GPT2LMHeadModel",),
    tensors=TENSORS,
    sizes=sizes,
    rename=rename,
    adjust=without_tied_output,
    add_parameters=add_parameters,
    add_vocabulary=vocabularies.byte_level,
)
