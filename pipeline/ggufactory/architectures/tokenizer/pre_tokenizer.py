"""llama.cpp's name for the way a byte-level tokenizer splits text before it merges.

A name that the user gives counts first. Then, as the converter does, it is recognized by the ids of one
test text. A vocabulary that the converter does not know, a fine-tune with other tokens, say, is recognized
by the definition of its pre-tokenizer.
"""

from __future__ import annotations

from hashlib import sha256

from ggufactory.architectures.tokenizer.fast_tokenizer import FastTokenizer
from ggufactory.architectures.tokenizer.files import TokenizerFiles, object_at
from ggufactory.architectures.tokenizer.pre_tokenizer_definitions import RULE_BY_EXPRESSIONS
from ggufactory.architectures.tokenizer.pre_tokenizer_hashes import NAME_BY_HASH, TEST_TEXT
from ggufactory.architectures.tokenizer.pre_tokenizer_names import NAMES
from ggufactory.architectures.tokenizer.pre_tokenizer_steps import split_expressions
from ggufactory.errors import InputError


def pre_tokenizer_name(fast: FastTokenizer, files: TokenizerFiles) -> str:
    """InputError that lists the names where nothing tells which one it is."""
    if files.pre is not None:
        return files.pre
    digest = test_text_hash(fast)
    name = NAME_BY_HASH.get(digest) or _defined_name(files)
    if name is None:
        raise InputError(
            f"tokenizer.json: llama.cpp's converter does not know this pre-tokenizer (hash {digest}), and its"
            f" definition is none of those that llama.cpp has; known: {', '.join(sorted(NAMES))}",
            fix="Name the one that splits text alike: --pre NAME",
        )
    return name


def test_text_hash(fast: FastTokenizer) -> str:
    """The converter's hash of the ids of `TEST_TEXT`, in hexadecimal."""
    return sha256(str(fast.encode(TEST_TEXT, add_special_tokens=True)).encode()).hexdigest()


def _defined_name(files: TokenizerFiles) -> str | None:
    tokenizer = files.tokenizer or {}
    expressions = split_expressions(tokenizer)
    rule = None if expressions is None else RULE_BY_EXPRESSIONS.get(expressions)
    if rule is None:
        return None
    model = object_at(tokenizer, "model", "tokenizer.json")
    model_type = files.config.get("model_type")
    return rule.name_for(
        model_type if isinstance(model_type, str) else "", ignore_merges=model.get("ignore_merges") is True
    )
