"""Metadata of strangers: what llama.cpp reads its own way, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ggufactory.calibrate.text import tokenizer_of
from ggufactory.container.metadata import KeyValue, ValueType
from ggufactory.errors import InputError
from sample_vocabularies import BYTE_CHARACTERS, BYTE_TOKENS, USER_DEFINED, BothTokenizers, made

BYTES = made("gpt2", BYTE_CHARACTERS, merges=["a b"], pre="gpt-2")
TOKENS = "tokenizer.ggml.tokens"


def _without(key: str) -> tuple[KeyValue, ...]:
    return tuple(entry for entry in BYTES if entry.key != key)


def _with(entry: KeyValue) -> tuple[KeyValue, ...]:
    return (*_without(entry.key), entry)


def test_empty_tokens_and_ones_with_a_zero_byte(tmp_path: Path) -> None:
    tokens = (*BYTE_TOKENS, "", "a", "▁a", "b\0c", "▁ab")
    both = BothTokenizers(made("llama", tokens, scores=range(len(tokens))), tmp_path)
    for text in ("ab [EMPTY_256] b\0c", "aabb\0"):
        both.agree_on(text)


def test_scores_may_be_whole_numbers(tmp_path: Path) -> None:
    tokens = (*BYTE_TOKENS, "a", "b", "c", "ab", "bc", "▁")
    plain = made("llama", tokens)
    scores = KeyValue("tokenizer.ggml.scores", ValueType.ARRAY, tuple(range(len(tokens))), ValueType.INT32)
    for metadata in (plain, (*plain, scores)):
        BothTokenizers(metadata, tmp_path).agree_on("abc cab abbc")


@pytest.mark.parametrize("kind", ["bert", "t5"])
def test_encoders_are_not_calibrated(kind: str) -> None:
    with pytest.raises(InputError, match=f"tokenizer.ggml.model is '{kind}'.*encoders, which are not calibrated"):
        tokenizer_of(made(kind, ["a"]))


@pytest.mark.parametrize("kind", ["rwkv", "plamo2", "hybriddna", "whitespace", "no_vocab", "none", "test", ""])
def test_kinds_that_are_not_known(kind: str) -> None:
    with pytest.raises(InputError, match=f"tokenizer.ggml.model is '{kind}'; known here are"):
        tokenizer_of(made(kind, ["a"]))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (_without(TOKENS), "has no tokenizer.ggml.tokens"),
        (_without("tokenizer.ggml.merges"), "has no tokenizer.ggml.merges"),
        (_with(KeyValue(TOKENS, ValueType.STRING, "a")), r"wanted an array of texts, found STRING \(a\)"),
        (_with(KeyValue(TOKENS, ValueType.ARRAY, (1, 2), ValueType.INT32)), "found an array of INT32"),
        (made("gpt2", ["a", "b", "a"], merges=["a b"]), "tokens 0 and 2 are both 'a'"),
        (
            _with(KeyValue("tokenizer.ggml.token_type", ValueType.ARRAY, (1,), ValueType.INT32)),
            "token_type has 1 items, and there are 256 tokens",
        ),
        (
            (*made("llama", ["a", "b"]), KeyValue("tokenizer.ggml.scores", ValueType.ARRAY, (0.5,), ValueType.FLOAT32)),
            "scores has 1 items, and there are 2 tokens",
        ),
        (
            _with(KeyValue("tokenizer.ggml.add_bos_token", ValueType.UINT32, 1)),
            r"add_bos_token: wanted true or false, found UINT32 \(1\)",
        ),
        (
            _with(KeyValue("tokenizer.ggml.bos_token_id", ValueType.STRING, "<s>")),
            r"bos_token_id: wanted the number of a token, found STRING \(<s>\)",
        ),
        (_with(KeyValue("tokenizer.ggml.pre", ValueType.BOOL, True)), r"wanted text, found BOOL \(True\)"),
        (
            made("gpt2", ["a", "b"], merges=["a b"], pre="glm4", add_bos_token=True),
            "that it has not: tokenizer.ggml.bos_token_id",
        ),
        (
            made("gpt2", ["a", "b"], merges=["a b"], pre="gpt-2", add_eos_token=True),
            "that it has not: tokenizer.ggml.eos_token_id",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_contradicts_itself(metadata: tuple[KeyValue, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tokenizer_of(metadata)


def test_a_token_of_an_author_that_is_not_utf_8() -> None:
    metadata = tuple(
        replace(entry, value=(*BYTE_CHARACTERS, b"\x80"))
        if entry.key == TOKENS
        else replace(entry, value=(*[1] * 256, USER_DEFINED))
        if entry.key == "tokenizer.ggml.token_type"
        else entry
        for entry in BYTES
    )
    with pytest.raises(InputError, match="the user-defined token 256 is not UTF-8"):
        tokenizer_of(metadata)
