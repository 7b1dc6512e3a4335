"""Byte-level BPE, GPT-2's kind: tokenizer.json with merges, and a pre-tokenizer that llama.cpp must know.

Source: `_set_vocab_gpt2` of llama.cpp's conversion/base.py, `SpecialVocab` of gguf-py's vocab.py.
"""

from __future__ import annotations

from typing import Any

from ggufactory.architectures.tokenizer.base_vocabulary import base_vocabulary
from ggufactory.architectures.tokenizer.fast_tokenizer import FastTokenizer
from ggufactory.architectures.tokenizer.files import TokenizerFiles, object_at
from ggufactory.architectures.tokenizer.pre_tokenizer import pre_tokenizer_name
from ggufactory.architectures.tokenizer.vocabulary import Vocabulary
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError

_ENCODED_SPACE = "Ġ"


def byte_level_vocabulary(files: TokenizerFiles, config: dict[str, Any], fast: FastTokenizer) -> Vocabulary:
    """`fast`: the loaded tokenizer.json.

    InputError where ids do not fit the model, or the pre-tokenizer is not known.
    """
    tokens, types = base_vocabulary(fast, config)
    name = pre_tokenizer_name(fast, files)
    return Vocabulary("gpt2", name, tokens, types, merges=_merges(files))


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
