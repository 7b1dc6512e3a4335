"""Which class AutoTokenizer takes, and the special tokens that it brings: the tables are transformers' own."""

from __future__ import annotations

import inspect
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import transformers
from transformers.models.auto.tokenization_auto import (
    MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS,
    TOKENIZER_MAPPING_NAMES,
)

from converted_rows import DATA
from ggufactory.architectures.tokenizer.base_vocabulary import base_vocabulary
from ggufactory.architectures.tokenizer.fast_tokenizer import NAMED_TOKENS, load_fast_tokenizer
from ggufactory.architectures.tokenizer.files import TokenizerFiles
from ggufactory.architectures.tokenizer.tokenizer_class import (
    MISNAMED,
    REGISTERED,
    SPECIAL_TOKENS,
    class_name,
)
from ggufactory.architectures.tokenizer.vocabulary import TokenType
from ggufactory.checkpoint import open_checkpoint

QWEN_2 = DATA / "qwen2" / "checkpoint"


def test_the_registered_classes_are_transformers_own() -> None:
    theirs = {
        name: (TOKENIZER_MAPPING_NAMES[name] or "").replace("MistralCommonBackend", "TokenizersBackend")
        for name in REGISTERED
    }
    assert theirs == dict(REGISTERED)
    special = {name for name in REGISTERED if REGISTERED[name] != "TokenizersBackend"}
    assert special & MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS == {MISNAMED}


@pytest.mark.parametrize("name", sorted(SPECIAL_TOKENS))
def test_the_special_tokens_are_transformers_own(name: str) -> None:
    parameters = inspect.signature(getattr(transformers, name).__init__).parameters
    theirs = {key: parameters[key].default for key in NAMED_TOKENS if key in parameters and parameters[key].default}
    assert theirs == dict(SPECIAL_TOKENS[name])


def files_of(folder: Path, model_type: str, tokenizer_class: str | None) -> TokenizerFiles:
    for name, key, value in (
        ("config.json", "model_type", model_type),
        ("tokenizer_config.json", "tokenizer_class", tokenizer_class),
    ):
        content: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8")) | {key: value}
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return TokenizerFiles.of(open_checkpoint(str(folder)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(QWEN_2, tmp_path / "checkpoint")


@pytest.mark.parametrize(
    ("model_type", "named", "taken"),
    [
        ("qwen3", "Qwen2TokenizerFast", "Qwen2Tokenizer"),
        ("qwen3", None, "Qwen2Tokenizer"),
        ("qwen2", "LlamaTokenizerFast", "Qwen2Tokenizer"),
        ("qwen3", "LlamaTokenizerFast", "TokenizersBackend"),
        ("llama", "LlamaTokenizer", "TokenizersBackend"),
        ("mistral", "GPT2Tokenizer", "TokenizersBackend"),
        ("falcon", "GPT2Tokenizer", "GPT2Tokenizer"),
        ("gpt_oss", None, "TokenizersBackend"),
    ],
)
def test_the_class_for_a_byte_level_vocabulary(folder: Path, model_type: str, named: str | None, taken: str) -> None:
    assert class_name(files_of(folder, model_type, named)) == taken


def test_a_token_of_the_class_takes_a_free_id(folder: Path) -> None:
    """As in Qwen models distilled from DeepSeek's, whose own end of text has another name."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (folder / name).read_text(encoding="utf-8")
        (folder / name).write_text(text.replace("<|endoftext|>", "<|end|>"), encoding="utf-8")
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    del config["pad_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    fast = load_fast_tokenizer(files_of(folder, "qwen2", "LlamaTokenizerFast"))
    tokens, types = base_vocabulary(fast, {"vocab_size": 513})
    assert tokens[510:] == [fast.added[510].content, "<|endoftext|>", "[PAD512]"]
    assert types[511:] == [TokenType.CONTROL, TokenType.UNUSED]
