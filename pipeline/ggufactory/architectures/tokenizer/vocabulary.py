"""A vocabulary: its tokens, their kinds and scores, and how they are written to the metadata."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from ggufactory.architectures.key_values import KeyValues
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError

MAX_TOKENS = 1 << 22
"""The largest published vocabularies have some 260,000 tokens."""


class TokenType(IntEnum):
    """llama.cpp's kinds of tokens."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(slots=True)
class Vocabulary:
    """Tokens by id. `tokens`, `types` and, where there are any, `scores` are equally long."""

    model: str
    """llama.cpp's kind of tokenizer: "llama" (SentencePiece) or "gpt2" (byte-level BPE)."""
    pre: str
    """llama.cpp's name of the pre-tokenizer."""
    tokens: list[str | bytes]
    types: list[TokenType]
    scores: list[float] = field(default_factory=list)
    merges: list[str] = field(default_factory=list)


def add_vocabulary(out: KeyValues, vocabulary: Vocabulary) -> None:
    out.text("tokenizer.ggml.model", vocabulary.model)
    out.text("tokenizer.ggml.pre", vocabulary.pre)
    out.texts("tokenizer.ggml.tokens", vocabulary.tokens)
    out.float32s("tokenizer.ggml.scores", vocabulary.scores)
    out.int32s("tokenizer.ggml.token_type", [int(kind) for kind in vocabulary.types])
    out.texts("tokenizer.ggml.merges", vocabulary.merges)


def looks_special(token: str) -> bool:
    """Whether an added token that is not marked as special is one all the same.

    Source: `does_token_look_special` of llama.cpp's conversion/base.py.
    """
    return (
        token in ("<pad>", "<mask>", "<2mass>", "[@BOS@]")
        or (token.startswith("<|") and token.endswith("|>"))
        or (token.startswith("<｜") and token.endswith("｜>"))
        or (token.startswith("<unused") and token.endswith(">"))
    )


def vocabulary_size(config: dict[str, Any], found: int) -> int:
    """config.json's number of tokens, or `found` where it has none. InputError where it is no sane number."""
    size = config.get("vocab_size")
    if size is None:
        size = found
    if not isinstance(size, int) or isinstance(size, bool) or not 0 < size <= MAX_TOKENS:
        raise InputError(f"config.json: vocab_size is {clip(size)}, wanted a whole number from 1 to {MAX_TOKENS:,}")
    return size
