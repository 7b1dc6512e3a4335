"""Every recorded vocabulary: the keys, types, values and order that llama.cpp's converter writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from converted_rows import DATA, TOLD, expected, key_value_row
from ggufactory.architectures.key_values import KeyValues
from ggufactory.architectures.tokenizer import vocabularies
from ggufactory.architectures.tokenizer.files import TokenizerFiles
from ggufactory.checkpoint import open_checkpoint

FUNCTION = {
    "llama2": "llama",
    "llama31": "llama",
    "llama32_tied": "llama",
    "mistral": "llama",
    "mixtral": "llama",
    "granite": "llama",
    "granitemoe": "llama",
    "smollm3": "llama",
    "deepseek_v3": "deepseek",
    "deepseek_v3_fp8": "deepseek",
    "qwen2": "qwen2",
    "qwen3": "qwen2",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3": "gemma3",
    "phi3": "phi3",
    "phimoe": "phi3",
    "glm4": "glm4",
    "glm4_moe": "glm4_moe",
    "ernie45": "ernie",
    "nemotron": "nemotron",
    "bert": "bert",
    "roberta": "roberta",
    "modernbert": "modern_bert",
}
FUNCTION |= dict.fromkeys(
    ("qwen2_moe", "qwen3_moe", "gpt2", "gpt_oss", "gpt_oss_mxfp4", "falcon", "starcoder2", "cohere", "cohere2"),
    "byte_level",
)
FUNCTION |= dict.fromkeys(("olmo2", "olmoe", "exaone4", "lfm2", "dots1", "stablelm", "llama4_text"), "byte_level")


def resolved_config(folder: Path) -> dict[str, Any]:
    """As the converter has it."""
    try:
        found = AutoConfig.from_pretrained(folder).to_dict()
    except (ValueError, KeyError, TypeError):
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def rows(folder: Path, function: str, config: dict[str, Any], pre: str | None = None) -> list[tuple[str, list[Any]]]:
    out = KeyValues()
    getattr(vocabularies, function)(out, TokenizerFiles.of(open_checkpoint(str(folder)), pre), config)
    return [(kv.key, key_value_row(kv)) for kv in out.entries()]


def recorded(name: str) -> list[tuple[str, list[Any]]]:
    return [(key, row) for key, row in expected(name)["kv"].items() if key.startswith("tokenizer.")]


@pytest.mark.parametrize("name", sorted(FUNCTION))
def test_as_the_converter_writes_it(name: str) -> None:
    folder = DATA / name / "checkpoint"
    want = recorded(name)
    told = dict(want)["tokenizer.ggml.pre"][1] if name in TOLD else None
    got = rows(folder, FUNCTION[name], resolved_config(folder), told)
    assert [key for key, _ in got] == [key for key, _ in want]
    for (key, row), (_, wanted) in zip(got, want, strict=True):
        assert row == wanted, key


@pytest.mark.parametrize("name", sorted(TOLD))
def test_untold_the_definition_counts(name: str) -> None:
    """None of them is given a family's name for splits that are not that family's."""
    folder = DATA / name / "checkpoint"
    got = dict(rows(folder, FUNCTION[name], resolved_config(folder)))
    assert got["tokenizer.ggml.pre"][1] == "dbrx"


def test_no_recorded_vocabulary_is_left_out() -> None:
    with_tokenizer = {
        path.parent.parent.name
        for path in DATA.glob("*/checkpoint/tokenizer*")
        if path.name in ("tokenizer.json", "tokenizer.model")
    }
    assert with_tokenizer <= set(FUNCTION)
