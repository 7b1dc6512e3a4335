"""Byte-level BPE, GPT-2's kind: tokenizer.json with merges, and a pre-tokenizer that llama.cpp must know.

Source: `get_vocab_base` of llama.cpp's conversion/base.py, `SpecialVocab` of gguf-py's vocab.py.
"""

from __future__ import annotations

from typing import Any

from ggufactory.architectures.tokenizer.fast_tokenizer import FastTokenizer, load_fast_tokenizer
from ggufactory.architectures.tokenizer.files import TokenizerFiles, object_at
from ggufactory.architectures.tokenizer.pre_tokenizer import pre_tokenizer_name
from ggufactory.architectures.tokenizer.vocabulary import (
    TokenType,
    Vocabulary,
    looks_special,
    vocabulary_size,
)
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError

_ENCODED_SPACE = "Ġ"


def byte_level_vocabulary(files: TokenizerFiles, config: dict[str, Any]) -> Vocabulary:
    """InputError where ids do not fit the model, or the pre-tokenizer is not known."""
    if files.tokenizer is None:
        raise InputError(
            f"checkpoint {files.checkpoint.name} has neither tokenizer.model nor tokenizer.json",
            fix="Copy the tokenizer's files into its folder",
        )
    fast = load_fast_tokenizer(files)
    size = vocabulary_size(config, len(fast.ids))
    highest = max(fast.ids.values(), default=0)
    if highest >= size:
        raise InputError(f"tokenizer.json has a token with the id {highest}, but vocab_size of config.json is {size}")
    vocabulary = Vocabulary("gpt2", pre_tokenizer_name(fast, files.tokenizer), tokens=[], types=[])
    text_by_id = {number: text for text, number in fast.ids.items()}
    for number in range(size):
        text, kind = _token(fast, number, text_by_id.get(number))
        vocabulary.tokens.append(text)
        vocabulary.types.append(kind)
    vocabulary.merges = _merges(files)
    return vocabulary


def _token(fast: FastTokenizer, number: int, text: str | None) -> tuple[str, TokenType]:
    if text is None:
        return f"[PAD{number}]", TokenType.UNUSED
    added = fast.added.get(number)
    if added is None:
        return text, TokenType.NORMAL
    if not added.normalized:
        # llama.cpp takes these tokens to be normalized already.
        text = fast.decode(fast.encode(text, add_special_tokens=False))
    if added.special or looks_special(text):
        return text, TokenType.CONTROL
    return text.replace("▁", " "), TokenType.USER_DEFINED


def _merges(files: TokenizerFiles) -> list[str]:
    """Pairs of tokens, "left right". In the newer form of the file spaces inside a token are encoded."""
    model = object_at(files.tokenizer or {}, "model", "tokenizer.json")
    merges = model.get("merges")
    if isinstance(merges, list) and merges:
        if all(isinstance(merge, str) for merge in merges):
            return merges
        if all(_is_pair(merge) for merge in merges):
            return [" ".join(part.replace(" ", _ENCODED_SPACE) for part in merge) for merge in merges]
    raise InputError(
        f"tokenizer.json: the merges are {clip(merges)}, wanted an array of pairs of tokens",
        fix="Only BPE tokenizers can be converted for this architecture",
    )


def _is_pair(merge: object) -> bool:
    return isinstance(merge, list) and len(merge) == 2 and all(isinstance(part, str) for part in merge)
