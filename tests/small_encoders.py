"""Small checkpoints of encoders, each with something that the recorded ones lack. As of `small_decoders`."""

from __future__ import annotations

from checkpoint_files import Json
from small_decoders import INNER, SIZES, WIDTH, with_biases
from small_families import Matrices, SmallCheckpoint

_BERT: Matrices = {
    "attention.self.query.weight": (WIDTH, WIDTH),
    "attention.self.key.weight": (WIDTH, WIDTH),
    "attention.self.value.weight": (WIDTH, WIDTH),
    "attention.output.dense.weight": (WIDTH, WIDTH),
    "attention.output.LayerNorm.weight": (WIDTH,),
    "intermediate.dense.weight": (INNER, WIDTH),
    "output.dense.weight": (WIDTH, INNER),
    "output.LayerNorm.weight": (WIDTH,),
}
_DISTILBERT: Matrices = {
    "attention.q_lin.weight": (WIDTH, WIDTH),
    "attention.k_lin.weight": (WIDTH, WIDTH),
    "attention.v_lin.weight": (WIDTH, WIDTH),
    "attention.out_lin.weight": (WIDTH, WIDTH),
    "sa_layer_norm.weight": (WIDTH,),
    "ffn.lin1.weight": (INNER, WIDTH),
    "ffn.lin2.weight": (WIDTH, INNER),
    "output_layer_norm.weight": (WIDTH,),
}
_MODERN_BERT: Matrices = {
    "attn.Wqkv.weight": (3 * WIDTH, WIDTH),
    "attn.Wo.weight": (WIDTH, WIDTH),
    "mlp_norm.weight": (WIDTH,),
    "mlp.Wi.weight": (2 * INNER, WIDTH),
    "mlp.Wo.weight": (WIDTH, INNER),
}
_SIZES: Json = {name: value for name, value in SIZES.items() if name != "num_key_value_heads"}
_POOLING = {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}


def _embeddings(vocabulary: int, positions: int, types: int) -> Matrices:
    shapes: Matrices = {
        "embeddings.word_embeddings.weight": (vocabulary, WIDTH),
        "embeddings.position_embeddings.weight": (positions, WIDTH),
        "embeddings.LayerNorm.weight": (WIDTH,),
        "embeddings.LayerNorm.bias": (WIDTH,),
    }
    return shapes | ({"embeddings.token_type_embeddings.weight": (types, WIDTH)} if types else {})


def _blocks(block: Matrices, prefix: str) -> Matrices:
    return {f"{prefix}.{layer}.{name}": shape for layer in range(2) for name, shape in block.items()}


def _bert(vocabulary: int, positions: int, types: int) -> Matrices:
    return _embeddings(vocabulary, positions, types) | _blocks(with_biases(_BERT, ""), "encoder.layer")


def _bert_classifier() -> SmallCheckpoint:
    """A reranker of one class, with the names of the first checkpoints and heads that are left out."""
    config = _SIZES | {
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
        "vocab_size": 125,
    }
    tensors = {f"bert.{name}": shape for name, shape in _bert(125, 256, 2).items()}
    tensors = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): shape
        for name, shape in tensors.items()
    }
    tensors |= {"bert.pooler.dense.weight": (WIDTH, WIDTH), "bert.pooler.dense.bias": (WIDTH,)}
    tensors |= {"classifier.weight": (1, WIDTH), "classifier.bias": (1,), "bert.embeddings.position_ids": (1, 256)}
    return SmallCheckpoint(
        config, tensors, "bert: added tokens", dtype="F32", dtypes={"bert.embeddings.position_ids": "I64"}
    )


def _bert_unnamed_classes() -> SmallCheckpoint:
    """Two classes without names; heads for training; pooling by the newer word."""
    config = _SIZES | {"architectures": ["BertForSequenceClassification"], "model_type": "bert", "vocab_size": 125}
    tensors = _bert(125, 256, 2) | {
        "classifier.weight": (2, WIDTH),
        "classifier.bias": (2,),
        "cls.predictions.bias": (125,),
        "cls.seq_relationship.weight": (2, WIDTH),
    }
    files = {"modules.json": [_POOLING], "1_Pooling/config.json": {"pooling_mode": "lasttoken"}}
    return SmallCheckpoint(config, tensors, "bert: added tokens", files=files)


def _distilbert_classifier() -> SmallCheckpoint:
    """Two layers of a classifier, sizes by names of their own."""
    config = {
        "architectures": ["DistilBertForSequenceClassification"],
        "model_type": "distilbert",
        "dim": WIDTH,
        "hidden_dim": INNER,
        "n_heads": 4,
        "n_layers": 2,
        "max_position_embeddings": 256,
        "id2label": {"0": "NEGATIVE", "1": "POSITIVE"},
        "label2id": {"NEGATIVE": 0, "POSITIVE": 1},
        "vocab_size": 125,
    }
    tensors = _embeddings(125, 256, 0) | _blocks(with_biases(_DISTILBERT, ""), "transformer.layer")
    tensors = {f"distilbert.{name}": shape for name, shape in tensors.items()}
    tensors |= {
        "pre_classifier.weight": (WIDTH, WIDTH),
        "pre_classifier.bias": (WIDTH,),
        "classifier.weight": (2, WIDTH),
        "classifier.bias": (2,),
        "vocab_transform.weight": (WIDTH, WIDTH),
        "vocab_projector.bias": (125,),
    }
    return SmallCheckpoint(config, tensors, "bert: added tokens")


def _roberta_classifier() -> SmallCheckpoint:
    """Three classes, two layers, names that begin with the model's."""
    labels = ["contradiction", "entailment", "neutral"]
    config = _SIZES | {
        "architectures": ["RobertaForSequenceClassification"],
        "model_type": "roberta",
        "max_position_embeddings": 130,
        "pad_token_id": 1,
        "type_vocab_size": 1,
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
        "vocab_size": 300,
    }
    tensors = {f"roberta.{name}": shape for name, shape in _bert(300, 130, 1).items()}
    tensors |= {
        "classifier.dense.weight": (WIDTH, WIDTH),
        "classifier.dense.bias": (WIDTH,),
        "classifier.out_proj.weight": (3, WIDTH),
        "classifier.out_proj.bias": (3,),
    }
    return SmallCheckpoint(config, tensors, "roberta: RobertaProcessing")


def _xlm_roberta() -> SmallCheckpoint:
    """SentencePiece, pooling by the first token."""
    config = _SIZES | {
        "architectures": ["XLMRobertaModel"],
        "model_type": "xlm-roberta",
        "max_position_embeddings": 130,
        "pad_token_id": 1,
        "type_vocab_size": 1,
        "vocab_size": 70,
    }
    tensors = _bert(70, 130, 1) | {"pooler.dense.weight": (WIDTH, WIDTH), "pooler.dense.bias": (WIDTH,)}
    files = {"modules.json": [_POOLING], "1_Pooling/config.json": {"pooling_mode_cls_token": True}}
    return SmallCheckpoint(config, tensors, "xlm_roberta: sentencepiece", files=files)


def _modern_bert_classifier() -> SmallCheckpoint:
    """Biases, a head of two layers, pooling in front of it, an activation of its own."""
    labels = ["no", "yes", "perhaps"]
    config = _SIZES | {
        "architectures": ["ModernBertForSequenceClassification"],
        "model_type": "modernbert",
        "attention_bias": True,
        "classifier_bias": True,
        "classifier_pooling": "mean",
        "global_attn_every_n_layers": 2,
        "hidden_activation": "silu",
        "local_attention": 64,
        "mlp_bias": True,
        "norm_bias": True,
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
        "vocab_size": 300,
    }
    tensors: Matrices = {
        "embeddings.tok_embeddings.weight": (300, WIDTH),
        "embeddings.norm.weight": (WIDTH,),
        "final_norm.weight": (WIDTH,),
        "layers.1.attn_norm.weight": (WIDTH,),
    }
    tensors |= _blocks(_MODERN_BERT, "layers")
    tensors = {f"model.{name}": shape for name, shape in with_biases(tensors, "norm", "attn", "mlp").items()}
    head: Matrices = {
        "head.dense.weight": (WIDTH, WIDTH),
        "head.norm.weight": (WIDTH,),
        "classifier.weight": (3, WIDTH),
    }
    return SmallCheckpoint(config, tensors | with_biases(head, ""), "modern_bert: ByteLevel after")


ENCODERS = {
    "bert_classifier": _bert_classifier,
    "bert_unnamed_classes": _bert_unnamed_classes,
    "distilbert_classifier": _distilbert_classifier,
    "roberta_classifier": _roberta_classifier,
    "xlm_roberta": _xlm_roberta,
    "modern_bert_classifier": _modern_bert_classifier,
}
