"""Targets as a job leaves them, without a job: artifacts of any bytes, a true manifest, and what lies beside."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ggufactory.publish import manifest
from ggufactory.publish.entry import Entry
from ggufactory.publish.release import release
from ggufactory.publish.signing import Signer
from ggufactory.storage import open_store


@dataclass(frozen=True)
class MadeTarget:
    uri: str
    files: dict[str, bytes]
    """The artifacts by name."""

    @property
    def folder(self) -> Path:
        return Path(self.uri)


def some_bytes(name: str, size: int) -> bytes:
    """Of no meaning, the same for the same name."""
    return np.random.default_rng(zlib.crc32(name.encode())).bytes(size)


def made_target(
    place: Path | str,
    rungs: dict[str, int],
    *,
    split: dict[str, list[int]] | None = None,
    keep: bool = False,
    signer: Signer | None = None,
    **changes: Any,
) -> MadeTarget:
    """Rungs by their size; those in `split` by the sizes of their files. `keep`: to a target that is there;
    `changes`: other values in each entry."""
    store = open_store(str(place))
    files = {f"name-{rung}.gguf": some_bytes(rung, size) for rung, size in rungs.items()}
    for rung, sizes in (split or {}).items():
        for number, size in enumerate(sizes, 1):
            files[f"name-{rung}-{number:05}-of-{len(sizes):05}.gguf"] = some_bytes(f"{rung}{number}", size)
    entries = {}
    for name, data in files.items():
        info = store.put(name, data)
        assert info is not None
        entries[name] = {**entry(name, data, info.etag), **changes}
    present = dict(manifest.read(store)[0]) if keep else {}
    manifest.merge(store, {**present, **entries})
    release(store, signer, lambda message: None)
    return MadeTarget(store.uri, files)


def entry(name: str, data: bytes, etag: str) -> Entry:
    """As a job writes it."""
    rung = name.removeprefix("name-").removesuffix(".gguf").partition("-")[0]
    return {
        "file": name,
        "name": "name",
        "rung": rung,
        "file_type": rung,
        "bytes": len(data),
        "crc32": f"{zlib.crc32(data):08x}",
        "sha256": hashlib.sha256(data).hexdigest(),
        "bits_per_weight": 4.5,
        "types": {"F32": 1, "Q4_K": 2},
        "recipe": {"F32": ["output_norm.weight"], "Q4_K": ["blk.[0-1].attn_q.weight"]},
        "options": {},
        "parts": 1,
        "etag": etag,
        "identity": hashlib.sha256(name.encode()).hexdigest(),
        "plan": "0" * 64,
        "source": {
            "uri": f"hf://org/name@{'a' * 40}",
            "revision": "a" * 40,
            "architecture": "llama",
            "parameters": 8_030_261_248,
            "files": [{"name": "model.safetensors", "bytes": 1, "etag": "b" * 64, "sha256": "b" * 64}],
            "read": {"config.json": "c" * 64},
            "card": {"license": "apache-2.0", "language": ["en"], "pipeline_tag": "text-generation", "tags": ["chat"]},
        },
        "imatrix": {"file": "i.gguf", "sha256": "d" * 64, "datasets": ["text.txt"], "chunks": 3, "entries": 2},
        "made_by": {
            "ggufactory": "0.1.0",
            "reference": "llama.cpp 0c1e5709, ggml 0.25.3",
            "kernels": ["cpu x86-64-v4"],
            "at": "2026-11-22T00:00:00+00:00",
        },
    }
