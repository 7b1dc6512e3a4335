"""BERT, DistilBERT and what was made of them: sentence encoders, classifiers and rerankers.

Source: `BertModel` and `DistilBertModel` of llama.cpp's conversion/bert.py.
"""

from __future__ import annotations

from dataclasses import replace

from ggufactory.architectures.classifier import CLASSIFIER, add_labels, label_count, rename_classifier
from ggufactory.architectures.common_tensors import with_biases
from ggufactory.architectures.configuration import Config, positive_integer
from ggufactory.architectures.family import Family
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.pooling import add_pooling, with_pooling
from ggufactory.architectures.tensor_names import text_name
from ggufactory.architectures.tensor_rules import TensorRule
from ggufactory.architectures.text_parameters import add_text_parameters
from ggufactory.architectures.tokenizer import vocabularies
from ggufactory.architectures.transforms import RowsOf, Sizes

POSITION_OFFSET = "positions that are skipped"
"""In the configuration, of RoBERTa; config.json has no such key."""
_DISTILBERT_EPSILON = 1e-12
_UNUSED = ("embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias")
_OTHER_HEADS = ("cls.predictions", "cls.seq_relationship")

EMBEDDINGS = (
    TensorRule("embeddings.word_embeddings.weight", "token_embd.weight", ("vocabulary", "width")),
    TensorRule(
        "embeddings.position_embeddings.weight",
        "position_embd.weight",
        ("stored_positions", "width"),
        RowsOf(1, ("skipped_positions", "positions")),
    ),
    *with_biases(TensorRule("embeddings.LayerNorm.weight", "token_embd_norm.weight", ("width",))),
)
_TOKEN_TYPES = TensorRule("embeddings.token_type_embeddings.weight", "token_types.weight", ("token_types", "width"))


def _block(source: str, name: str, *shape: str) -> TensorRule:
    return TensorRule(f"{source}.weight", f"blk.{{}}.{name}.weight", shape, may_have_bias=True)


_BERT = "encoder.layer.{}."
TENSORS = (
    *EMBEDDINGS,
    _TOKEN_TYPES,
    _block(_BERT + "attention.self.query", "attn_q", "width", "width"),
    _block(_BERT + "attention.self.key", "attn_k", "width", "width"),
    _block(_BERT + "attention.self.value", "attn_v", "width", "width"),
    _block(_BERT + "attention.output.dense", "attn_output", "width", "width"),
    _block(_BERT + "attention.output.LayerNorm", "attn_output_norm", "width"),
    _block(_BERT + "intermediate.dense", "ffn_up", "inner", "width"),
    _block(_BERT + "output.dense", "ffn_down", "width", "inner"),
    _block(_BERT + "output.LayerNorm", "layer_output_norm", "width"),
    *CLASSIFIER,
)
_DISTILBERT = "transformer.layer.{}."
_DISTILBERT_TENSORS = (
    *EMBEDDINGS,
    _block(_DISTILBERT + "attention.q_lin", "attn_q", "width", "width"),
    _block(_DISTILBERT + "attention.k_lin", "attn_k", "width", "width"),
    _block(_DISTILBERT + "attention.v_lin", "attn_v", "width", "width"),
    _block(_DISTILBERT + "attention.out_lin", "attn_output", "width", "width"),
    _block(_DISTILBERT + "sa_layer_norm", "attn_output_norm", "width"),
    _block(_DISTILBERT + "ffn.lin1", "ffn_up", "inner", "width"),
    _block(_DISTILBERT + "ffn.lin2", "ffn_down", "width", "inner"),
    _block(_DISTILBERT + "output_layer_norm", "layer_output_norm", "width"),
    *CLASSIFIER,
)


def rename(name: str, config: Config) -> str | None:
    """Heads for training are left out, and the norms of the first checkpoints have names of their own."""
    name = name.removeprefix("bert.")
    if name.endswith(".gamma"):
        name = name.removesuffix(".gamma") + ".weight"
    if name.endswith(".beta"):
        name = name.removesuffix(".beta") + ".bias"
    if name in _UNUSED or name.startswith(_OTHER_HEADS):
        return None
    text = text_name(name, config)
    return None if text is None else rename_classifier(text, config)


def _distilbert_name(name: str, config: Config) -> str | None:
    name = name.removeprefix("distilbert.")
    return None if name.startswith("vocab_") else rename(name, config)


def sizes(config: Config) -> Sizes:
    positions = positive_integer(config, "max_position_embeddings")
    skipped = config.get(POSITION_OFFSET, 0)
    return {
        "vocabulary": positive_integer(config, "vocab_size"),
        "width": positive_integer(config, "hidden_size", "dim"),
        "inner": positive_integer(config, "intermediate_size", "hidden_dim"),
        "positions": positions,
        "skipped_positions": skipped,
        "stored_positions": skipped + positions,
        "token_types": positive_integer({"type_vocab_size": 1} | config, "type_vocab_size"),
        "labels": label_count(config),
    }


def add_parameters(p: Parameters) -> None:
    add_text_parameters(p)
    p.boolean("attention.causal", False)
    add_pooling(p)
    add_labels(p)


def _add_distilbert_parameters(p: Parameters) -> None:
    p.float32("attention.layer_norm_epsilon", _DISTILBERT_EPSILON)
    add_parameters(p)


BERT = Family(
    architecture="bert",
    classes=("BertModel", "BertForMaskedLM", "BertForSequenceClassification"),
    tensors=TENSORS,
    sizes=sizes,
    from_files=with_pooling,
    rename=rename,
    add_parameters=add_parameters,
    add_vocabulary=vocabularies.bert,
)
DISTILBERT = replace(
    BERT,
    classes=("DistilBertModel", "DistilBertForMaskedLM", "DistilBertForSequenceClassification"),
    tensors=_DISTILBERT_TENSORS,
    rename=_distilbert_name,
    add_parameters=_add_distilbert_parameters,
)
