"""ModernBERT: rotary positions, one matrix for queries, keys and values, one for gate and up.

Source: `ModernBertModel` of llama.cpp's conversion/bert.py.
"""

from __future__ import annotations

from dataclasses import replace

from ggufactory.architectures import bert
from ggufactory.architectures.classifier import CLASSIFIER, label_count
from ggufactory.architectures.common_tensors import with_biases
from ggufactory.architectures.configuration import Config, positive_integer
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.tensor_rules import TensorRule
from ggufactory.architectures.tokenizer import vocabularies
from ggufactory.architectures.transforms import Sizes

_LAYER = "layers.{}."
TENSORS = with_biases(
    TensorRule("embeddings.tok_embeddings.weight", "token_embd.weight", ("vocabulary", "width")),
    TensorRule("embeddings.norm.weight", "token_embd_norm.weight", ("width",)),
    # The first block has none: what it gets is normalized already.
    TensorRule(_LAYER + "attn_norm.weight", "blk.{}.attn_norm.weight", ("width",), optional=True),
    TensorRule(_LAYER + "attn.Wqkv.weight", "blk.{}.attn_qkv.weight", ("qkv", "width")),
    TensorRule(_LAYER + "attn.Wo.weight", "blk.{}.attn_output.weight", ("width", "width")),
    TensorRule(_LAYER + "mlp_norm.weight", "blk.{}.ffn_norm.weight", ("width",)),
    TensorRule(_LAYER + "mlp.Wi.weight", "blk.{}.ffn_up.weight", ("gate_up", "width")),
    TensorRule(_LAYER + "mlp.Wo.weight", "blk.{}.ffn_down.weight", ("width", "inner")),
    TensorRule("final_norm.weight", "output_norm.weight", ("width",)),
    TensorRule("head.norm.weight", "cls.norm.weight", ("width",), optional=True),
    *CLASSIFIER,
)


def rename(name: str, config: Config) -> str | None:
    """The decoder of masked words is left out."""
    name = name.removeprefix("model.")
    return None if name.startswith("decoder.") else bert.rename(name, config)


def sizes(config: Config) -> Sizes:
    width = positive_integer(config, "hidden_size")
    inner = positive_integer(config, "intermediate_size")
    return {
        "vocabulary": positive_integer(config, "vocab_size"),
        "width": width,
        "qkv": 3 * width,
        "inner": inner,
        "gate_up": 2 * inner,
        "labels": label_count(config),
    }


def add_parameters(p: Parameters) -> None:
    bert.add_parameters(p)
    p.uint32("attention.sliding_window", p.config.get("local_attention"))
    if (pattern := p.config.get("global_attn_every_n_layers")) is not None:
        p.uint32("attention.sliding_window_pattern", pattern)
    p.text("rope.scaling.type", "none")
    p.uint32("vocab_size", p.config.get("vocab_size"))
    if activation := p.config.get("hidden_activation"):
        p.text("hidden_activation", activation)


MODERN_BERT = replace(
    bert.BERT,
    architecture="modern-bert",
    classes=("ModernBertModel", "ModernBertForMaskedLM", "ModernBertForSequenceClassification"),
    tensors=TENSORS,
    sizes=sizes,
    rename=rename,
    add_parameters=add_parameters,
    add_vocabulary=vocabularies.modern_bert,
)
