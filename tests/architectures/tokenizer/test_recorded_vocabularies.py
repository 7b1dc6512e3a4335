"""Vocabularies of kinds that no recorded checkpoint has, as llama.cpp's converter writes them.

vocabularies.json holds small tokenizers made for it, and for each the keys and values that the converter's
own `set_vocab` of that family wrote (llama.cpp 0c1e5709 with transformers 5.23, on an empty gguf-py writer).
Where a case has a `pre`, the converter was told it in the place of its hash. Kimi K2's class, which is
remote code, was replaced by an object with the ranks and special tokens that such a class has.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from converted_rows import DATA, key_value_row
from ggufactory.architectures.key_values import KeyValues
from ggufactory.architectures.tokenizer import vocabularies
from ggufactory.architectures.tokenizer.files import TokenizerFiles
from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.errors import InputError
from ggufactory.storage import open_store

CASES: dict[str, dict[str, Any]] = {
    f"{case['function']}: {case['name']}": case
    for case in json.loads((DATA / "vocabularies.json").read_text(encoding="utf-8"))
}
XLM_ROBERTA = "xlm_roberta: sentencepiece"
XLM_ROBERTA_JSON = "xlm_roberta: tokenizer.json"
KIMI = "deepseek: Kimi K2"
PHI_3 = "phi3: added everywhere"
BERT = "bert: added tokens"


def write(files: dict[str, Any], folder: Path) -> Path:
    for name, content in files.items():
        if "base64" in content:
            (folder / name).write_bytes(base64.b64decode(content["base64"]))
        else:
            (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def rows(case: dict[str, Any], folder: Path) -> list[list[Any]]:
    store = open_store(str(folder))
    checkpoint = Checkpoint(store, "x", {}, {info.name: info for info in store.list()})
    out = KeyValues()
    files = TokenizerFiles.of(checkpoint, case["pre"])
    getattr(vocabularies, case["function"])(out, files, case["config"])
    return [[kv.key, key_value_row(kv)] for kv in out.entries()]


def refusal(name: str, folder: Path, **changes: Any) -> str:
    """The message for a case whose files are changed. `changes`: by the file's name with `_` for `.`."""
    case = json.loads(json.dumps(CASES[name]))
    for key, change in changes.items():
        if key in ("config", "pre"):
            case[key] = change
        else:
            change(case["files"][key.replace("_json", ".json").replace("_model", ".model")])
    with pytest.raises(InputError) as caught:
        rows(case, write(case["files"], folder))
    return str(caught.value)


@pytest.mark.parametrize("name", CASES)
def test_as_the_converter_writes_it(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    got = rows(case, write(case["files"], tmp_path))
    assert [key for key, _ in got] == [key for key, _ in case["expected"]]
    for (key, row), (_, wanted) in zip(got, case["expected"], strict=True):
        assert row == wanted, key
