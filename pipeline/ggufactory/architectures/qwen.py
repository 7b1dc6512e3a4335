"""Qwen 2, 2.5 and 3, QwQ, embedding models made of them, and the text models of Qwen2-VL and Qwen2.5-VL.

Source: `Qwen2Model` and `Qwen3Model` of llama.cpp's conversion/qwen.py, `Qwen2VLModel` of its qwenvl.py.
"""

from __future__ import annotations

from dataclasses import replace

from ggufactory.architectures.common_tensors import (
    HEAD_NORMS,
    MODEL,
    NORMS,
    OUTPUT,
    attention,
    gated_mlp,
    without_tied_output,
)
from ggufactory.architectures.configuration import Config
from ggufactory.architectures.family import Family
from ggufactory.architectures.general import MAX_CARD_BYTES
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.pooling import add_pooling, with_pooling
from ggufactory.architectures.sizes import transformer_sizes
from ggufactory.architectures.tensor_names import text_name
from ggufactory.architectures.tensor_rules import TensorRule
from ggufactory.architectures.text_parameters import add_text_parameters
from ggufactory.architectures.tokenizer import vocabularies
from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.errors import InputError

_TENSORS = (*MODEL, *NORMS, *attention(), *gated_mlp())
_BARE = ("embed_tokens.", "layers.", "norm.")
"""How names begin where the model was saved without the head that predicts tokens: embedding models."""
_WITHOUT_HEAD = "saved without head"
_RERANKERS = ("qwen3-reranker", "qwen3-vl-reranker")


def from_files(config: Config, checkpoint: Checkpoint) -> Config:
    """With the pooling of an embedding model, and whether there is a head."""
    bare = any(name.startswith(_BARE) for name in checkpoint.tensors)
    return with_pooling(config, checkpoint) | {_WITHOUT_HEAD: bare}


def qwen3_from_files(config: Config, checkpoint: Checkpoint) -> Config:
    """The same. InputError for a reranker, recognized as the converter does."""
    card = checkpoint.read_file("README.md", limit=MAX_CARD_BYTES) or b""
    titles = card.decode("utf-8", errors="replace").lower()
    names = f"{checkpoint.name} {config.get('_name_or_path')}".lower()
    if any(f"# {name}" in titles or name in names for name in _RERANKERS):
        raise InputError(
            f"checkpoint {checkpoint.name} is a Qwen3 reranker, a classifier in GGUF, which is not supported",
            fix="Convert it with llama.cpp's convert_hf_to_gguf.py and give the GGUF file",
        )
    return from_files(config, checkpoint)


def rename(name: str, config: Config) -> str | None:
    known = text_name(name, config)
    return f"model.{known}" if known is not None and known.startswith(_BARE) else known


def adjust(rules: tuple[TensorRule, ...], config: Config) -> tuple[TensorRule, ...]:
    if config[_WITHOUT_HEAD]:
        return tuple(replace(rule, optional=True) if rule == OUTPUT else rule for rule in rules)
    return without_tied_output(rules, config)


def add_parameters(p: Parameters) -> None:
    add_text_parameters(p)
    add_pooling(p)


QWEN2 = Family(
    architecture="qwen2",
    classes=("Qwen2ForCausalLM", "Qwen2Model"),
    tensors=_TENSORS,
    sizes=transformer_sizes,
    from_files=from_files,
    rename=rename,
    adjust=adjust,
    add_parameters=add_parameters,
    add_vocabulary=vocabularies.qwen2,
)
QWEN2_VL = Family(
    architecture="qwen2vl",
    classes=("Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration"),
    tensors=_TENSORS,
    sizes=transformer_sizes,
    adjust=without_tied_output,
    add_parameters=add_text_parameters,
    add_vocabulary=vocabularies.qwen2,
)
QWEN3 = Family(
    architecture="qwen3",
    classes=("Qwen3ForCausalLM", "Qwen3Model"),
    tensors=(*_TENSORS, *HEAD_NORMS),
    sizes=transformer_sizes,
    from_files=qwen3_from_files,
    rename=rename,
    adjust=adjust,
    add_parameters=add_parameters,
    add_vocabulary=vocabularies.qwen2,
)
