"""The tokens and kinds of a tokenizer.json, ids without a token padded: byte-level BPE and WordPiece.

Source: `get_vocab_base` of llama.cpp's conversion/base.py.
"""

from __future__ import annotations

from typing import Any

from ggufactory.architectures.tokenizer.fast_tokenizer import FastTokenizer
from ggufactory.architectures.tokenizer.vocabulary import TokenType, looks_special, vocabulary_size
from ggufactory.errors import InputError


def base_vocabulary(fast: FastTokenizer, config: dict[str, Any]) -> tuple[list[str | bytes], list[TokenType]]:
    """As many of both as config.json's `vocab_size` says. InputError where an id does not fit."""
    size = vocabulary_size(config, len(fast.ids))
    highest = max(fast.ids.values(), default=0)
    if highest >= size:
        raise InputError(f"tokenizer.json has a token with the id {highest}, but vocab_size of config.json is {size}")
    text_by_id = {number: text for text, number in fast.ids.items()}
    tokens: list[str | bytes] = []
    types: list[TokenType] = []
    for number in range(size):
        text, kind = _token(fast, number, text_by_id.get(number))
        tokens.append(text)
        types.append(kind)
    return tokens, types


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
