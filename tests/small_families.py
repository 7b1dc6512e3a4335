"""Writing small checkpoints of any family: a configuration, shapes, and a recorded vocabulary."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converted_rows import DATA
from small_checkpoints import write_json, write_weights

Json = dict[str, Any]
Shapes = dict[str, tuple[int, ...]]
_VOCABULARIES: dict[str, Json] = {
    f"{case['function']}: {case['name']}": case
    for case in json.loads((DATA / "vocabularies.json").read_text(encoding="utf-8"))
}


@dataclass(frozen=True)
class SmallCheckpoint:
    """What is written as one. The converter was told the pre-tokenizer that the vocabulary's case names."""

    config: Json
    tensors: Shapes
    vocabulary: str
    """Of vocabularies.json: function and name of a case."""
    dtype: str = "BF16"
    dtypes: Mapping[str, str] = field(default_factory=dict)
    """Of the tensors that have another."""
    zeros: tuple[str, ...] = ()
    """How the names of tensors end that are all zero."""
    files: Mapping[str, object] = field(default_factory=dict)
    """JSON files more."""

    @property
    def pre_tokenizer(self) -> str | None:
        pre: str | None = _VOCABULARIES[self.vocabulary]["pre"]
        return pre

    def write(self, folder: Path) -> None:
        write_json(folder, "config.json", self.config)
        for name, content in _VOCABULARIES[self.vocabulary]["files"].items():
            if name == "config.json":
                continue
            if "base64" in content:
                (folder / name).write_bytes(base64.b64decode(content["base64"]))
            else:
                write_json(folder, name, content)
        for name, content in self.files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            write_json(folder, name, content)
        tensors = {name: (self.dtypes.get(name, self.dtype), shape) for name, shape in self.tensors.items()}
        write_weights(folder, tensors, self.zeros)
