"""Phi-3's SentencePiece vocabulary: both files of added tokens count, and only by what they say.

Source: `Phi3MiniModel.set_vocab` of llama.cpp's conversion/phi.py.
"""

from __future__ import annotations

from typing import Any

from ggufactory.architectures.tokenizer.files import (
    JsonObject,
    TokenizerFiles,
    added_tokens_decoder,
    objects_at,
    text_of,
    token_id,
)
from ggufactory.architectures.tokenizer.sentencepiece_model import ADDED_SCORE, model_vocabulary
from ggufactory.architectures.tokenizer.vocabulary import TokenType, Vocabulary
from ggufactory.errors import InputError


def phi3_vocabulary(files: TokenizerFiles, config: dict[str, Any]) -> Vocabulary:
    """InputError where an added token makes no sense, or has no place in the vocabulary."""
    vocabulary = model_vocabulary(files, config)
    for number, entry in added_tokens_decoder(files):
        _set(vocabulary, number, entry, "tokenizer_config.json, added_tokens_decoder")
    where = "tokenizer.json, added_tokens"
    for entry in objects_at(files.tokenizer or {}, "added_tokens", "tokenizer.json"):
        number = token_id(entry.get("id"), where)
        text_of(entry, f"{where}, token {number}")
        _set(vocabulary, number, entry, where)
    return vocabulary


def _set(vocabulary: Vocabulary, number: int, entry: JsonObject, where: str) -> None:
    if number >= len(vocabulary.tokens):
        raise InputError(f"{where}: token {number}, but config.json's vocab_size is {len(vocabulary.tokens)}")
    vocabulary.tokens[number] = entry["content"]
    vocabulary.scores[number] = ADDED_SCORE
    vocabulary.types[number] = TokenType.CONTROL if entry.get("special") else TokenType.USER_DEFINED
