"""The name of a pre-tokenizer: from the ids of the test text, else from its definition, else refused."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from converted_rows import DATA
from ggufactory.architectures.registry import describe
from ggufactory.architectures.tokenizer import pre_tokenizer
from ggufactory.architectures.tokenizer.pre_tokenizer_hashes import NAME_BY_HASH, TEST_TEXT
from ggufactory.checkpoint import open_checkpoint
from ggufactory.errors import InputError

LLAMA_3 = DATA / "llama31" / "checkpoint"
GPT_4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK_3 = (
    r"\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
)


def name_of(folder: Path) -> object:
    metadata = describe(open_checkpoint(str(folder))).metadata
    return next(kv.value for kv in metadata if kv.key == "tokenizer.ggml.pre")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return shutil.copytree(LLAMA_3, tmp_path / "checkpoint")


def define(folder: Path, **changes: Any) -> None:
    content = json.loads((LLAMA_3 / "tokenizer.json").read_text(encoding="utf-8")) | changes
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")


def splits(*expressions: str, behavior: str = "Isolated") -> dict[str, Any]:
    steps: list[dict[str, Any]] = [
        {"type": "Split", "pattern": {"Regex": e}, "behavior": behavior, "invert": False} for e in expressions
    ]
    steps.append({"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False})
    return {"type": "Sequence", "pretokenizers": steps}


LLAMA_3_SPLIT = json.loads((LLAMA_3 / "tokenizer.json").read_text())["pre_tokenizer"]["pretokenizers"][0]["pattern"][
    "Regex"
]


@pytest.mark.parametrize(
    ("expressions", "name"),
    [
        ((LLAMA_3_SPLIT,), "llama-bpe"),
        ((LLAMA_3_SPLIT.replace("{1,3}", ""),), "qwen2"),
        ((GPT_4O,), "gpt-4o"),
        (DEEPSEEK_3, "deepseek-v3"),
    ],
)
def test_definitions(checkpoint: Path, expressions: tuple[str, ...], name: str) -> None:
    define(checkpoint, pre_tokenizer=splits(*expressions))
    assert name_of(checkpoint) == name


@pytest.mark.parametrize(
    "changes",
    [
        {"pre_tokenizer": splits(LLAMA_3_SPLIT + "|x")},
        {"pre_tokenizer": splits(LLAMA_3_SPLIT, "x")},
        {"pre_tokenizer": splits(LLAMA_3_SPLIT, behavior="Removed")},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}},
        {"normalizer": {"type": "NFC"}},
    ],
    ids=["another", "one more", "removed", "bytes alone", "normalized"],
)
def test_other_definitions_are_refused_with_the_known_names(checkpoint: Path, changes: dict[str, Any]) -> None:
    define(checkpoint, **changes)
    with pytest.raises(InputError, match=r"does not know this pre-tokenizer.*known: .*llama-bpe"):
        name_of(checkpoint)


def test_known_ids_come_before_the_definition(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = Tokenizer.from_file(str(LLAMA_3 / "tokenizer.json")).encode(TEST_TEXT).ids
    digest = sha256(str(ids).encode()).hexdigest()
    monkeypatch.setattr(pre_tokenizer, "NAME_BY_HASH", NAME_BY_HASH | {digest: "smaug-bpe"})
    assert name_of(checkpoint) == "smaug-bpe"


def test_truncation_in_the_file_does_not_change_the_ids(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = Tokenizer.from_file(str(LLAMA_3 / "tokenizer.json")).encode(TEST_TEXT).ids
    digest = sha256(str(ids).encode()).hexdigest()
    monkeypatch.setattr(pre_tokenizer, "NAME_BY_HASH", {digest: "found"})
    define(checkpoint, truncation={"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0})
    assert name_of(checkpoint) == "found"


def test_the_table_is_the_converters() -> None:
    """Its size, and two entries that tell a shifted or damaged copy."""
    assert len(NAME_BY_HASH) == 95
    assert NAME_BY_HASH["0ef9807a4087ebef797fc749390439009c3b9eda9ad1a097abbe738f486c01e5"] == "llama-bpe"
    assert sha256(TEST_TEXT.encode()).hexdigest() == "a36179c1e2b1cfcfbfad1dc779addad2ffc778201e4cf0d538bddeafa2c526da"
