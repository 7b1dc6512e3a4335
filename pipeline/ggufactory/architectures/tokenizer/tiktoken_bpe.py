"""Byte-level BPE whose ranks lie in tiktoken's format, as Kimi K2's do: merges are found again from the ranks.

Sources: `DeepseekV2Model.set_vocab` of llama.cpp's conversion/deepseek.py and `QwenModel.bpe` of its
qwen.py for the merges, and the ids that the checkpoint's own tokenization_kimi.py gives to special tokens.
None of the checkpoint's code is run.
"""

from __future__ import annotations

import base64
import binascii
from itertools import pairwise
from typing import Any

from ggufactory.architectures.tokenizer.files import TokenizerFiles, added_tokens_decoder, object_at
from ggufactory.architectures.tokenizer.vocabulary import MAX_TOKENS, TokenType, Vocabulary, vocabulary_size
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError

RANKS_FILE = "tiktoken.model"
MAX_RANKS_BYTES = 64 << 20
MAX_MERGE_STEPS = 100_000_000
"""Of all tokens' squared lengths; Kimi K2's 163,584 tokens have some ten million."""
_KIMI_CLASS = "tokenization_kimi.TikTokenTokenizer"
_SPECIAL_TOKENS = 258
"""How many ids after the ranks that class keeps for special tokens."""


def tiktoken_vocabulary(files: TokenizerFiles, config: dict[str, Any]) -> Vocabulary:
    """InputError where the ranks are no tiktoken file, or are not known to split text as Kimi K2 does."""
    _check_class(files)
    ranks = _load_ranks(files)
    size = vocabulary_size(config, len(ranks) + _SPECIAL_TOKENS)
    names = {number: entry["content"] for number, entry in added_tokens_decoder(files)}
    special = {
        names.get(number, f"<|reserved_token_{number}|>"): number
        for number in range(len(ranks), len(ranks) + _SPECIAL_TOKENS)
    }
    text_by_id = {number: text for text, number in ({_text(t): rank for t, rank in ranks.items()} | special).items()}
    special_ids = set(special.values())
    vocabulary = Vocabulary("gpt2", "kimi-k2", tokens=[], types=[], merges=_merges(ranks))
    for number in range(size):
        if number in text_by_id:
            vocabulary.tokens.append(text_by_id[number])
            vocabulary.types.append(TokenType.CONTROL if number in special_ids else TokenType.NORMAL)
        else:
            vocabulary.tokens.append(f"[PAD{number}]")
            vocabulary.types.append(TokenType.UNUSED)
    return vocabulary


def _check_class(files: TokenizerFiles) -> None:
    """tiktoken's file says nothing of the splitting: it is in the class that reads it."""
    classes = object_at(files.tokenizer_config, "auto_map", "tokenizer_config.json").get("AutoTokenizer")
    names = classes if isinstance(classes, list) else [classes]
    if files.pre not in (None, "kimi-k2") or (files.pre is None and _KIMI_CLASS not in names):
        raise InputError(
            f"{RANKS_FILE} is read by the class {clip(classes)}, whose code is not run; only Kimi K2's is known",
            fix="Provide a tokenizer.json, or say --pre kimi-k2 where the class is Kimi K2's by another name",
        )


def _load_ranks(files: TokenizerFiles) -> dict[bytes, int]:
    """Every line is a token in base64, a space, and its rank, which is its id."""
    data = files.checkpoint.read_file(RANKS_FILE, limit=MAX_RANKS_BYTES)
    assert data is not None, RANKS_FILE
    lines = data.splitlines()
    if len(lines) > MAX_TOKENS:
        raise InputError(f"{RANKS_FILE} has {len(lines):,} tokens, at most {MAX_TOKENS:,}")
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        text, _, rank = line.partition(b" ")
        if not rank.isdigit() or len(rank) > 9:
            raise InputError(f"{RANKS_FILE}, line {number}: {clip(line)} is no token with its rank")
        try:
            ranks[base64.b64decode(text, validate=True)] = int(rank)
        except binascii.Error as error:
            raise InputError(f"{RANKS_FILE}, line {number}: the token is not base64: {error}") from None
    return ranks


def _merges(ranks: dict[bytes, int]) -> list[str]:
    """For every token that two others make, those two."""
    if sum(len(token) ** 2 for token in ranks) > MAX_MERGE_STEPS:
        raise InputError(f"{RANKS_FILE}: the tokens are too long to find their merges", fix="Is it a tokenizer's file?")
    merges = []
    for token, rank in ranks.items():
        if len(token) > 1:
            parts = _merged_below(ranks, token, rank)
            if len(parts) == 2:
                merges.append(" ".join(map(_text, parts)))
    return merges


def _merged_below(ranks: dict[bytes, int], token: bytes, limit: int) -> list[bytes]:
    """The parts that are left of a token when only tokens of ranks below `limit` may be made."""
    parts = [token[i : i + 1] for i in range(len(token))]
    pair_ranks = [ranks.get(left + right, limit) for left, right in pairwise(parts)]
    while pair_ranks and (rank := min(pair_ranks)) < limit:
        at = pair_ranks.index(rank)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
        del pair_ranks[at]
        for pair in (at - 1, at):
            if 0 <= pair < len(pair_ranks):
                pair_ranks[pair] = ranks.get(parts[pair] + parts[pair + 1], limit)
    return parts


def _byte_texts() -> list[str]:
    """GPT-2's character for every byte: itself where it can be seen, else one of those from U+0100 on."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = iter(range(0x100, 0x200))
    return [chr(byte if byte in visible else next(hidden)) for byte in range(256)]


_TEXT_BY_BYTE = _byte_texts()


def _text(token: bytes) -> str:
    return "".join(_TEXT_BY_BYTE[byte] for byte in token)
