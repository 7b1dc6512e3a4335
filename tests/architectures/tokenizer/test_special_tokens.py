"""Special tokens, templates and normalizer flags of many odd tokenizer files, as gguf-py's `SpecialVocab` reads them.

Each recorded case has the files' texts, the vocabulary's size, and the keys and values that gguf-py writes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from converted_rows import DATA
from ggufactory.architectures.key_values import KeyValues
from ggufactory.architectures.tokenizer.files import TokenizerFiles
from ggufactory.architectures.tokenizer.special_tokens import add_special_tokens
from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.storage import open_store

CASES: list[dict[str, Any]] = json.loads((DATA / "special_tokens.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_as_gguf_py_reads_them(case: dict[str, Any], tmp_path: Path) -> None:
    for name, text in case["files"].items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    store = open_store(str(tmp_path))
    checkpoint = Checkpoint(store, "x", {}, {info.name: info for info in store.list()})
    out = KeyValues()
    add_special_tokens(out, TokenizerFiles.of(checkpoint), tokens=case["tokens"])
    got = [[kv.key, list(kv.value) if isinstance(kv.value, tuple) else kv.value] for kv in out.entries()]
    assert got == case["expected"]
