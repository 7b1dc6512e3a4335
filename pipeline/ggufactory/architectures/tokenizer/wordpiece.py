"""WordPiece, BERT's kind: tokens that begin a word are marked, and not those that go on with one.

Source: `BertModel.set_vocab` of llama.cpp's conversion/bert.py.
"""

from __future__ import annotations

from typing import Any

from ggufactory.architectures.tokenizer.base_vocabulary import base_vocabulary
from ggufactory.architectures.tokenizer.fast_tokenizer import load_fast_tokenizer
from ggufactory.architectures.tokenizer.files import TokenizerFiles, object_at
from ggufactory.architectures.tokenizer.pre_tokenizer import test_text_hash
from ggufactory.architectures.tokenizer.pre_tokenizer_hashes import NAME_BY_HASH
from ggufactory.architectures.tokenizer.vocabulary import TokenType, Vocabulary
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError

_CONTINUES = "##"
_BEGINS = "▁"


def wordpiece_vocabulary(files: TokenizerFiles, config: dict[str, Any]) -> Vocabulary:
    """llama.cpp splits text for every WordPiece vocabulary alike, whatever the name, so any will do.

    InputError where tokenizer.json holds another kind of vocabulary.
    """
    fast = load_fast_tokenizer(files)
    kind = object_at(files.tokenizer or {}, "model", "tokenizer.json").get("type")
    if kind != "WordPiece":
        raise InputError(f"tokenizer.json: the model's type is {clip(kind)}, wanted 'WordPiece'")
    tokens, types = base_vocabulary(fast, config)
    texts: list[str | bytes] = [_marked(str(token), kind) for token, kind in zip(tokens, types, strict=True)]
    name = files.pre or NAME_BY_HASH.get(test_text_hash(fast), "default")
    return Vocabulary("bert", name, texts, types)


def _marked(token: str, kind: TokenType) -> str:
    if kind is TokenType.CONTROL:
        return token
    return token.removeprefix(_CONTINUES) if token.startswith(_CONTINUES) else _BEGINS + token
