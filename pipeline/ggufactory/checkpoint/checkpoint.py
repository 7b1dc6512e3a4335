"""An opened checkpoint: what its headers say, and the small files beside the weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ggufactory.checkpoint.json_object import parse_json_object
from ggufactory.errors import SourceChangedError
from ggufactory.storage.protocol import ObjectInfo, Store

MAX_JSON_BYTES = 100_000_000
"""The largest published tokenizer.json has some 35 MB."""


@dataclass(frozen=True, slots=True)
class SourceTensor:
    """A tensor of the checkpoint: a dtype, a shape and a byte range that can be read by rows."""

    name: str
    dtype: str
    """safetensors' word: "BF16", "F16", "F32", "F8_E4M3", "U8" …"""
    shape: tuple[int, ...]
    file: str
    offset: int
    """Of its first byte, from the start of `file`."""
    nbytes: int


@dataclass(frozen=True)
class Checkpoint:
    """A Hugging Face folder of safetensors files, local or on S3, read by its headers alone."""

    store: Store
    name: str
    """The last part of the path, such as "Llama-3.1-8B-Instruct"; names the model where nothing else does."""
    tensors: Mapping[str, SourceTensor]
    """By name; ordered as the reference reads them (files in name order, in a file by tensor name)."""
    files: Mapping[str, ObjectInfo]
    """Every file directly in the folder, by name, pinned by its tag at opening."""
    read: dict[str, str] = field(default_factory=dict, compare=False)
    """SHA-256 (hexadecimal) of each small file that was read so far, by name."""

    def read_file(self, name: str, *, limit: int = 256 << 20) -> bytes | None:
        """The bytes of a small file of the folder, or None when there is none.

        InputError when it is larger than `limit` bytes, SourceChangedError when it is no longer the
        file that was there at opening.
        """
        listed = self.files.get(name)
        if listed is None:
            return None
        found = self.store.read(name, limit=limit)
        if found is None or found[1].etag != listed.etag:
            raise SourceChangedError(
                f"{self.store.uri}: {name} was changed after the checkpoint was opened", fix="Start again"
            )
        self.read[name] = hashlib.sha256(found[0]).hexdigest()
        return found[0]

    def read_json(self, name: str) -> dict[str, Any] | None:
        """A JSON object file such as config.json, or None. InputError when it is not a JSON object."""
        data = self.read_file(name, limit=MAX_JSON_BYTES)
        return None if data is None else parse_json_object(data, name)
