"""Vocabularies as metadata: recorded ones and made ones; and what llama.cpp and we make of texts with them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from converted_rows import DATA
from gguf_files import text as string
from gguf_files import u32, write_gguf
from ggufactory.calibrate.text import Tokenizer, tokenizer_of
from ggufactory.container.metadata import KeyValue, ValueType
from llama_oracle import LlamaVocabulary

NORMAL, CONTROL, USER_DEFINED, BYTE = 1, 3, 4, 6
DECODERS = ("llama", "gpt2", "gemma4")

_VISIBLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_HIDDEN = [byte for byte in range(256) if byte not in _VISIBLE]
BYTE_CHARACTERS = [chr(byte) if byte in _VISIBLE else chr(256 + _HIDDEN.index(byte)) for byte in range(256)]
"""GPT-2's character for each byte."""
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]
"""SentencePiece's."""


def byte_spelling(text: str) -> str:
    return "".join(BYTE_CHARACTERS[byte] for byte in text.encode())


@cache
def recorded() -> Mapping[str, tuple[KeyValue, ...]]:
    """What llama.cpp's converter wrote for recorded checkpoints, and for vocabularies that none of them has."""
    found = {}
    for path in sorted(DATA.glob("*/expected.json")):
        kv = json.loads(path.read_text(encoding="utf-8"))["kv"]
        found[path.parent.name] = tuple(_key_value(key, *row) for key, row in kv.items())
    for case in json.loads((DATA / "vocabularies.json").read_text(encoding="utf-8")):
        own = (_key_value(key, *row) for key, row in case["expected"])
        found[f"{case['function']}: {case['name']}"] = (string("general.architecture", "llama"), *own)
    return {name: entries for name, entries in found.items() if value_of(entries, "model") in DECODERS}


def value_of(metadata: Sequence[KeyValue], key: str) -> Any:
    return next((entry.value for entry in metadata if entry.key == f"tokenizer.ggml.{key}"), None)


def _key_value(key: str, kind: str, value: Any) -> KeyValue:
    outer, _, item = kind.partition("/")
    if item:
        return KeyValue(key, ValueType[outer], tuple(value), ValueType[item])
    return KeyValue(key, ValueType[outer], value)


def made(
    kind: str,
    tokens: Sequence[str],
    types: Mapping[str, int] | None = None,
    *,
    merges: Iterable[str] = (),
    scores: Sequence[float] = (),
    name: str = "",
    **more: str | int,
) -> tuple[KeyValue, ...]:
    """The metadata of a vocabulary that nobody published. `types`: of tokens that are not normal; `more`: keys
    after "tokenizer.ggml."."""
    kinds = [(types or {}).get(token, NORMAL) for token in tokens]
    arrays: tuple[tuple[str, Iterable[Any], ValueType], ...] = (
        ("tokens", tokens, ValueType.STRING),
        ("token_type", kinds, ValueType.INT32),
        ("merges", merges, ValueType.STRING),
        ("scores", scores, ValueType.FLOAT32),
    )
    entries = [string("general.architecture", "llama"), string("tokenizer.ggml.model", kind)]
    if name:
        entries.append(string("general.name", name))
    for key, items, item_type in arrays:
        if listed := tuple(items):
            entries.append(KeyValue(f"tokenizer.ggml.{key}", ValueType.ARRAY, listed, item_type))
    for key, value in more.items():
        full = f"tokenizer.ggml.{key}"
        if isinstance(value, bool):
            entries.append(KeyValue(full, ValueType.BOOL, value))
        else:
            entries.append(u32(full, value) if isinstance(value, int) else string(full, value))
    return tuple(entries)


class BothTokenizers:
    """llama.cpp's tokenizer and ours, for one vocabulary."""

    def __init__(self, metadata: Sequence[KeyValue], folder: Path) -> None:
        self.ours: Tokenizer = tokenizer_of(metadata)
        self.theirs = LlamaVocabulary(str(write_gguf(folder / "vocabulary.gguf", metadata, ())))

    def agree_on(self, text: str) -> None:
        assert self.ours.encode(text) == self.theirs.tokenize(text), text[:200]
        assert self.ours.encode_whole(text) == self.theirs.tokenize(text, add_special=True), text[:200]

    def agree_on_beginnings(self) -> None:
        assert (self.ours.adds_bos, self.ours.bos_id) == (self.theirs.adds_bos, self.theirs.bos)
