"""SentencePiece-like BPE that only tokenizer.json holds: merges, with bytes as the last resort.

Source: `LlamaHfVocab` of gguf-py's vocab.py.
"""

from __future__ import annotations

import re

from ggufactory.architectures.tokenizer.fast_tokenizer import load_fast_tokenizer
from ggufactory.architectures.tokenizer.files import TokenizerFiles, object_at
from ggufactory.architectures.tokenizer.pre_tokenizer_names import refuse_name
from ggufactory.architectures.tokenizer.vocabulary import MAX_TOKENS, TokenType, Vocabulary
from ggufactory.errors import InputError

SCORE = -1000.0
_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")


def is_byte_fallback_bpe(files: TokenizerFiles) -> bool:
    if files.tokenizer is None:
        return False
    model = object_at(files.tokenizer, "model", "tokenizer.json")
    decoder = object_at(files.tokenizer, "decoder", "tokenizer.json")
    return model.get("type") == "BPE" and bool(model.get("byte_fallback")) and decoder.get("type") == "Sequence"


def byte_fallback_vocabulary(files: TokenizerFiles) -> Vocabulary:
    """InputError where ids are missing."""
    refuse_name(files.pre, "byte-fallback BPE")
    fast = load_fast_tokenizer(files)
    text_by_id = {number: text for text, number in fast.ids.items()}
    special = {fast.ids[text] for text in fast.special if text in fast.ids}
    added = sorted(number for number in fast.added if number >= fast.base_size)
    if fast.base_size + len(added) > MAX_TOKENS:
        raise InputError(f"tokenizer.json has {len(fast.ids):,} tokens, at most {MAX_TOKENS:,}")
    vocabulary = Vocabulary("llama", "default", tokens=[], types=[])
    for number in range(fast.base_size):
        if number not in text_by_id:
            raise InputError(f"tokenizer.json has no token {number}, but {fast.base_size} tokens")
        text = text_by_id[number]
        if _BYTE.fullmatch(text):
            kind = TokenType.BYTE
        else:
            kind = TokenType.CONTROL if number in special else TokenType.NORMAL
        vocabulary.tokens.append(text)
        vocabulary.types.append(kind)
    for number in added:
        vocabulary.tokens.append(fast.added[number].content)
        vocabulary.types.append(TokenType.CONTROL if number in special else TokenType.USER_DEFINED)
    vocabulary.scores = [SCORE] * len(vocabulary.tokens)
    return vocabulary
