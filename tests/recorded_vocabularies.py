"""Small vocabularies of kinds that no recorded checkpoint has, and what llama.cpp's converter writes for them.

vocabularies.json holds tokenizers made for it, and for each the keys and values that the converter's own
`set_vocab` of that family wrote (llama.cpp 0c1e5709 with transformers 5.23, on an empty gguf-py writer).
Where a case has a `pre`, the converter was told it in the place of its hash. Kimi K2's class, which is
remote code, was replaced by an object with the ranks and special tokens that such a class has.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from converted_rows import DATA, key_value_row
from ggufactory.architectures.key_values import KeyValues
from ggufactory.architectures.tokenizer import vocabularies
from ggufactory.architectures.tokenizer.files import TokenizerFiles
from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.storage import open_store

CASES: dict[str, dict[str, Any]] = {
    f"{case['function']}: {case['name']}": case
    for case in json.loads((DATA / "vocabularies.json").read_text(encoding="utf-8"))
}


def write_files(files: dict[str, Any], folder: Path) -> None:
    for name, content in files.items():
        if "base64" in content:
            (folder / name).write_bytes(base64.b64decode(content["base64"]))
        else:
            (folder / name).write_text(json.dumps(content), encoding="utf-8")


def written_rows(case: dict[str, Any], folder: Path) -> list[list[Any]]:
    """Keys and values for a case whose files are put into `folder`."""
    write_files(case["files"], folder)
    store = open_store(str(folder))
    checkpoint = Checkpoint(store, "x", {}, {info.name: info for info in store.list()})
    out = KeyValues()
    getattr(vocabularies, case["function"])(out, TokenizerFiles.of(checkpoint, case["pre"]), case["config"])
    return [[kv.key, key_value_row(kv)] for kv in out.entries()]
