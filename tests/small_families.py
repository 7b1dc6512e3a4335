"""Small checkpoints of any family, declared: a configuration, shapes, and a recorded vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from checkpoint_files import Json, write_json, write_weights
from recorded_vocabularies import CASES, write_files

Matrices = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class SmallCheckpoint:
    """What is written as one. The converter was told the pre-tokenizer that the vocabulary's case names."""

    config: Json
    tensors: Matrices
    vocabulary: str
    """Of vocabularies.json: function and name of a case."""
    dtype: str = "BF16"
    dtypes: Mapping[str, str] = field(default_factory=dict)
    """Of the tensors that have another."""
    zeros: tuple[str, ...] = ()
    """How the names of tensors end that are all zero."""
    files: Mapping[str, object] = field(default_factory=dict)
    """JSON files more."""

    def write(self, folder: Path) -> None:
        write_files(CASES[self.vocabulary]["files"], folder)
        write_json(folder, "config.json", self.config)
        for name, content in self.files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            write_json(folder, name, content)
        tensors = {name: (self.dtypes.get(name, self.dtype), shape) for name, shape in self.tensors.items()}
        write_weights(folder, tensors, self.zeros)
