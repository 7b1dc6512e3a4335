"""What a family's function adds by rule: ids of infilling tokens, tokens that must be there, where files lie."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from converted_rows import DATA
from ggufactory.architectures.key_values import KeyValues
from ggufactory.architectures.tokenizer import vocabularies
from ggufactory.architectures.tokenizer.files import TokenizerFiles
from ggufactory.checkpoint import open_checkpoint
from ggufactory.errors import InputError


def values(function: str, folder: Path, size: int) -> dict[str, Any]:
    out = KeyValues()
    getattr(vocabularies, function)(out, TokenizerFiles.of(open_checkpoint(str(folder))), {"vocab_size": size})
    return {kv.key.removeprefix("tokenizer.ggml."): kv.value for kv in out.entries()}


@pytest.fixture
def copy(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return shutil.copytree(DATA / request.param / "checkpoint", tmp_path / "checkpoint")


@pytest.mark.parametrize(("size", "found"), [(32015, None), (32016, 32010), (32017, None)])
def test_code_llama_is_known_by_its_size(size: int, found: int | None) -> None:
    assert values("llama", DATA / "llama2" / "checkpoint", size).get("eot_token_id") == found


@pytest.mark.parametrize(("size", "added"), [(49151, True), (49152, False)])
def test_small_granite_models_begin_texts_with_nothing(size: int, added: bool) -> None:
    assert values("llama", DATA / "llama2" / "checkpoint", size)["add_bos_token"] is added


@pytest.mark.parametrize(
    ("copy", "function", "token"),
    [("glm4", "glm4", "<|user|>"), ("glm4_moe", "glm4_moe", "<|observation|>"), ("glm4_moe", "glm4_moe", "[gMASK]")],
    indirect=["copy"],
)
def test_a_glm_without_its_tokens(copy: Path, function: str, token: str) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (copy / name).read_text(encoding="utf-8")
        (copy / name).write_text(text.replace(token, "<|other|>"), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        values(function, copy, 512)
    assert f"no added token {token}, which this architecture needs" in str(caught.value)


@pytest.mark.parametrize(
    ("function", "missing"),
    [
        ("byte_level", "has no tokenizer.json"),
        ("deepseek", "has no tokenizer.json"),
        ("gemma2", "has no tokenizer.model"),
        ("phi3", "has no tokenizer.model"),
        ("bert", "has no tokenizer.json"),
        ("xlm_roberta", "has neither sentencepiece.bpe.model nor a tokenizer.json with a unigram model"),
        ("llama", "has neither tokenizer.model nor tokenizer.json"),
    ],
)
@pytest.mark.parametrize("copy", ["llama2"], indirect=True)
def test_a_checkpoint_without_the_file(copy: Path, function: str, missing: str) -> None:
    (copy / "tokenizer.model").unlink()
    with pytest.raises(InputError, match=missing):
        values(function, copy, 512)


@pytest.mark.parametrize("copy", ["gemma3"], indirect=True)
def test_ids_of_a_multimodal_checkpoint_lie_one_level_down(copy: Path) -> None:
    raw = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    ids = {key: raw.pop(key) for key in list(raw) if key.endswith("_token_id")}
    outer = {"model_type": "gemma3", "text_config": raw | ids, "eos_token_id": 7}
    (copy / "config.json").write_text(json.dumps(outer), encoding="utf-8")
    found = values("gemma3", copy, 512)
    assert (found["bos_token_id"], found["eos_token_id"]) == (ids["bos_token_id"], 7)
