"""Vocabularies that are no good: each is refused with one clear message."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ggufactory.errors import InputError
from recorded_vocabularies import CASES, written_rows

XLM_ROBERTA = "xlm_roberta: sentencepiece"
XLM_ROBERTA_JSON = "xlm_roberta: tokenizer.json"
KIMI = "deepseek: Kimi K2"
PHI_3 = "phi3: added everywhere"
BERT = "bert: added tokens"

Change = Callable[[Any], object]


def encoded(text: str) -> Change:
    return lambda file: file.update(base64=text)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (BERT, {"config": {"vocab_size": 1 << 40}}, "vocab_size is 1099511627776, wanted a whole number from 1 to"),
        (BERT, {"config": {"vocab_size": "many"}}, "vocab_size is 'many'"),
        (BERT, {"config": {"vocab_size": 20}}, "a token with the id 121, but vocab_size of config.json is 20"),
        (BERT, {"config": {"vocab_size": 125, "type_vocab_size": "two"}}, "token_type_count: wanted a whole number"),
        (BERT, {"tokenizer_json": lambda f: f["model"].update(type="BPE", merges=[])}, "continuing_subword_prefix"),
        (BERT, {"tokenizer_json": lambda f: f["model"]["vocab"].update(x="1")}, "tokenizer.json cannot be used"),
        (BERT, {"tokenizer_json": lambda f: f["added_tokens"].append({"id": 1, "content": 2})}, "tokenizer.json"),
        (PHI_3, {"config": {"vocab_size": 113}}, "token 113, but config.json's vocab_size is 113"),
        (PHI_3, {"tokenizer_json": lambda f: f["added_tokens"].append({"id": 1, "content": [1]})}, "wanted text"),
        (PHI_3, {"tokenizer_json": lambda f: f["added_tokens"].append({"id": "1"})}, "'1' is no token id"),
        (PHI_3, {"added_tokens_json": lambda f: f.update(x=-1)}, "-1 is no token id"),
        (PHI_3, {"tokenizer_config_json": lambda f: f["added_tokens_decoder"].update(x={})}, "'x' is no token id"),
        (PHI_3, {"tokenizer_model": encoded("AAAA")}, "tokenizer.model is not a SentencePiece model"),
        (XLM_ROBERTA, {"pre": "llama-bpe"}, "a unigram vocabulary has no pre-tokenizer"),
        (XLM_ROBERTA, {"config": {"vocab_size": -1}}, "vocab_size is -1"),
        (XLM_ROBERTA, {"sentencepiece.bpe_model": encoded("AAAA")}, "sentencepiece.bpe.model is not a Sentence"),
        (XLM_ROBERTA_JSON, {"tokenizer_json": lambda f: f.update(normalizer=None)}, "wanted one with a precompiled"),
        (
            XLM_ROBERTA_JSON,
            {"tokenizer_json": lambda f: f["normalizer"].update(precompiled_charsmap="*")},
            "tokenizer.json cannot be used",
        ),
        (XLM_ROBERTA_JSON, {"tokenizer_json": lambda f: f["model"].update(type="BPE")}, "has neither sentencepiece"),
        (XLM_ROBERTA_JSON, {"tokenizer_config_json": lambda f: f.update(add_prefix_space="yes")}, "true or false"),
        (KIMI, {"tokenizer_config_json": lambda f: f.update(auto_map={})}, "say --pre kimi-k2"),
        (KIMI, {"pre": "llama-bpe"}, "only Kimi K2's is known"),
        (KIMI, {"tiktoken_model": encoded("AAAA")}, "tiktoken.model, line 1: .* is no token with its rank"),
        (KIMI, {"tiktoken_model": encoded("KiAx")}, "tiktoken.model, line 1: the token is not base64"),
    ],
)
def test_refused(tmp_path: Path, name: str, changes: dict[str, Any], message: str) -> None:
    """`changes`: what to do to a file, by its name with `_` before the ending, or what to put in place."""
    case = json.loads(json.dumps(CASES[name]))
    for key, change in changes.items():
        if callable(change):
            change(case["files"][".".join(key.rsplit("_", 1))])
        else:
            case[key] = change
    with pytest.raises(InputError, match=message):
        written_rows(case, tmp_path)
