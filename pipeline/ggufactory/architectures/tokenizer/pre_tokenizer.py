"""llama.cpp's name for the way a byte-level tokenizer splits text before it merges.

As the converter does, it is recognized by the ids of one test text. A vocabulary that the converter does
not know is recognized by the definition of its pre-tokenizer, where that leaves one name.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from ggufactory.architectures.tokenizer.fast_tokenizer import FastTokenizer
from ggufactory.architectures.tokenizer.files import JsonObject
from ggufactory.architectures.tokenizer.pre_tokenizer_hashes import NAME_BY_HASH, TEST_TEXT
from ggufactory.errors import InputError

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_LEAD = r"[^\r\n\p{L}\p{N}]?"
_LINES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_NAME_BY_SPLITS = {
    (rf"{_CONTRACTIONS}|{_LEAD}\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_LINES}",): "llama-bpe",
    (rf"{_CONTRACTIONS}|{_LEAD}\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_LINES}",): "qwen2",
    (
        rf"{_LEAD}{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|{_LEAD}{_UPPER}+{_LOWER}*{_CONTRACTIONS}?"
        rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_LINES}",
    ): "gpt-4o",
    (
        r"\p{N}{1,3}",
        "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
        r"""[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
        rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_LINES}",
    ): "deepseek-v3",
}
"""Regular expressions of the splits in their order, to the name whose llama.cpp expressions split alike
(`llm_tokenizer_bpe` of src/llama-vocab.cpp)."""


def pre_tokenizer_name(fast: FastTokenizer, tokenizer: JsonObject) -> str:
    """`tokenizer`: tokenizer.json. InputError that lists the known names where it is none of them."""
    ids = fast.encode(TEST_TEXT, add_special_tokens=True)
    digest = sha256(str(ids).encode()).hexdigest()
    name = NAME_BY_HASH.get(digest) or _NAME_BY_SPLITS.get(_splits(tokenizer))
    if name is None:
        known = ", ".join(sorted({*NAME_BY_HASH.values(), *_NAME_BY_SPLITS.values()}))
        raise InputError(
            f"tokenizer.json: llama.cpp's converter does not know this pre-tokenizer (hash {digest}); known: {known}",
            fix="Use the tokenizer.json that the model was published with",
        )
    return name


def _splits(tokenizer: JsonObject) -> tuple[str, ...]:
    """The expressions of a plain definition: nothing normalized, isolated splits, then bytes. Else nothing."""
    pre = tokenizer.get("pre_tokenizer")
    steps = pre.get("pretokenizers") if isinstance(pre, dict) and pre.get("type") == "Sequence" else None
    if tokenizer.get("normalizer") is not None or not isinstance(steps, list) or not steps:
        return ()
    if not all(isinstance(step, dict) for step in steps):
        return ()
    *splits, last = steps
    if last.get("type") != "ByteLevel" or last.get("use_regex", True) or last.get("add_prefix_space", True):
        return ()
    expressions = tuple(_expression(split) for split in splits)
    return tuple(e for e in expressions if e is not None) if None not in expressions else ()


def _expression(split: dict[str, Any]) -> str | None:
    pattern = split.get("pattern")
    if split.get("type") != "Split" or split.get("behavior") != "Isolated" or split.get("invert"):
        return None
    expression = pattern.get("Regex") if isinstance(pattern, dict) else None
    return expression if isinstance(expression, str) else None
