"""Gemma 3, alone or with its image encoder, which is left out, and EmbeddingGemma.

Source: `Gemma3Model` and `EmbeddingGemma` of llama.cpp's conversion/gemma.py.
"""

from __future__ import annotations

from dataclasses import replace

from ggufactory.architectures.common_tensors import (
    EMBEDDINGS,
    HEAD_NORMS,
    OUTPUT,
    OUTPUT_NORM,
    attention,
    changed,
    gated_mlp,
    without_tied_output,
)
from ggufactory.architectures.configuration import Config, positive_integer
from ggufactory.architectures.family import Family
from ggufactory.architectures.gemma import SANDWICH_NORMS
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.pooling import add_pooling, with_pooling
from ggufactory.architectures.sizes import transformer_sizes
from ggufactory.architectures.tensor_names import text_name
from ggufactory.architectures.text_parameters import add_text_parameters
from ggufactory.architectures.tokenizer import vocabularies
from ggufactory.architectures.tokenizer.files import object_at, objects_at
from ggufactory.architectures.tokenizer.sentencepiece_model import MODEL_FILE
from ggufactory.architectures.transforms import RowsOf, Sizes
from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError

_DEFAULTS = {
    "max_position_embeddings": 131072,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "rms_norm_eps": 1e-6,
}
_DEFAULT_THETA = 1_000_000.0
_KNOWN_TOKENS = "tokens of the tokenizer's files"
"""In the configuration; config.json has no such key."""

TENSORS = (
    replace(EMBEDDINGS, transform=RowsOf(0, ("known_tokens", "unknown_tokens"))),
    OUTPUT,
    *changed("add_one", OUTPUT_NORM, *SANDWICH_NORMS, *HEAD_NORMS),
    *attention(),
    *gated_mlp(),
)


def count_tokens(config: Config, checkpoint: Checkpoint) -> Config:
    """The configuration with the number of tokens that the tokenizer's files know."""
    known = positive_integer(config, "vocab_size")
    if MODEL_FILE not in checkpoint.files and (tokenizer := checkpoint.read_json("tokenizer.json")) is not None:
        vocabulary = object_at(tokenizer, "model", "tokenizer.json").get("vocab")
        if not isinstance(vocabulary, dict | list):
            raise InputError(f"tokenizer.json: the model's vocab is {clip(vocabulary)}, wanted tokens")
        known = len(vocabulary) + len(objects_at(tokenizer, "added_tokens", "tokenizer.json"))
    return config | {_KNOWN_TOKENS: known}


def sizes(config: Config) -> Sizes:
    usual = transformer_sizes(_DEFAULTS | config)
    known = min(config[_KNOWN_TOKENS], usual["vocabulary"])
    return usual | {"known_tokens": known, "unknown_tokens": usual["vocabulary"] - known}


def add_parameters(p: Parameters) -> None:
    if p.config.get("attn_logit_softcapping") is not None:
        raise InputError("config.json has attn_logit_softcapping, which this architecture does not have")
    add_text_parameters(p)
    settled = _DEFAULTS | p.config
    p.uint32("context_length", settled["max_position_embeddings"])
    p.uint32("attention.head_count", settled["num_attention_heads"])
    p.float32("attention.layer_norm_rms_epsilon", settled["rms_norm_eps"])
    p.uint32("attention.key_length", settled["head_dim"])
    p.uint32("attention.value_length", settled["head_dim"])
    p.float32("rope.freq_base", p.full_rope.get("rope_theta", _DEFAULT_THETA))
    if cap := p.config.get("final_logit_softcapping"):
        p.float32("final_logit_softcapping", cap)
    if p.config.get("sliding_window_pattern") != 1:
        p.uint32("attention.sliding_window", p.config.get("sliding_window"))
    p.uint32("attention.head_count_kv", settled["num_key_value_heads"])


def _name_of_embedding_model(name: str, config: Config) -> str | None:
    text = text_name(name, config)
    return text if text is None or text.startswith("model.") else f"model.{text}"


def _read_files_of_embedding_model(config: Config, checkpoint: Checkpoint) -> Config:
    # transformers' class halves the window, and llama.cpp wants the whole.
    raw = checkpoint.read_json("config.json") or {}
    window = positive_integer(raw, "sliding_window")
    return with_pooling(count_tokens(config, checkpoint), checkpoint) | {"sliding_window": window}


def _add_parameters_of_embedding_model(p: Parameters) -> None:
    add_parameters(p)
    p.uint32("attention.sliding_window", p.config["sliding_window"])
    add_pooling(p)


GEMMA3 = Family(
    architecture="gemma3",
    classes=("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"),
    tensors=TENSORS,
    sizes=sizes,
    from_files=count_tokens,
    adjust=without_tied_output,
    add_parameters=add_parameters,
    add_vocabulary=vocabularies.gemma3,
)
EMBEDDING_GEMMA = Family(
    architecture="gemma-embedding",
    classes=("Gemma3TextModel",),
    tensors=TENSORS,
    sizes=sizes,
    from_files=_read_files_of_embedding_model,
    rename=_name_of_embedding_model,
    adjust=without_tied_output,
    add_parameters=_add_parameters_of_embedding_model,
    add_vocabulary=vocabularies.gemma3,
)
