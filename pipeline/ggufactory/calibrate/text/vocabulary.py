"""A vocabulary's metadata, checked: tokens, and what kind each one is.

Source: `llama_vocab::impl::load` of llama.cpp's src/llama-vocab.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from ggufactory.container.metadata import KeyValue, Scalar, Value, ValueType
from ggufactory.errors import InputError

_PREFIX = "tokenizer.ggml."
Text = str | bytes
"""Bytes where a token is not UTF-8."""


class TokenType(IntEnum):
    """llama.cpp's `llama_token_type`; `UNDEFINED` for any other number."""

    UNDEFINED = 0
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, slots=True)
class Vocabulary:
    kind: str
    """`tokenizer.ggml.model`."""
    tokens: tuple[Text, ...]
    types: tuple[int, ...]
    """Numbers of `TokenType`."""
    ids: Mapping[Text, int]
    metadata: Mapping[str, KeyValue]

    @property
    def model_name(self) -> str:
        return _text(self.metadata, "general.name")

    def text(self, key: str) -> str:
        """Empty where there is none. `key` as in the file, but without "tokenizer.ggml." before it."""
        return _text(self.metadata, _PREFIX + key)

    def flag(self, key: str, default: bool) -> bool:
        entry = self.metadata.get(_PREFIX + key)
        if entry is None:
            return default
        if not isinstance(entry.value, bool):
            raise _wrong(entry.key, "true or false", entry)
        return entry.value

    def token_id(self, key: str, default: int | None) -> int | None:
        """The token that `key` names; `default` where it names none of the vocabulary, if that is one."""
        entry = self.metadata.get(_PREFIX + key)
        fallback = default if default is not None and default < len(self.tokens) else None
        if entry is None:
            return fallback
        if not isinstance(entry.value, int) or isinstance(entry.value, bool):
            raise _wrong(entry.key, "the number of a token", entry)
        return entry.value if 0 <= entry.value < len(self.tokens) else fallback

    def scores(self) -> tuple[float, ...]:
        """One for each token; zeros where the file has none."""
        entry = self.metadata.get(_PREFIX + "scores")
        if entry is None:
            return (0.0,) * len(self.tokens)
        found = _items(entry, (ValueType.FLOAT32, ValueType.INT32), "numbers", len(self.tokens))
        return tuple(float(score) for score in found[: len(self.tokens)])

    def merges(self) -> tuple[Text, ...] | None:
        entry = self.metadata.get(_PREFIX + "merges")
        if entry is None:
            return None
        return tuple(_as_c_string(merge) for merge in _items(entry, (ValueType.STRING,), "texts", 0))


def read_vocabulary(metadata: Sequence[KeyValue]) -> Vocabulary:
    """InputError where tokens are missing, given twice, or of fewer types than there are tokens."""
    entries = {entry.key: entry for entry in metadata}
    listed = entries.get(_PREFIX + "tokens")
    if listed is None:
        raise InputError(
            f"the model's metadata has no {_PREFIX}tokens, so no text can be made into tokens",
            fix="Calibrate a model that has its vocabulary",
        )
    found = [_as_c_string(token) for token in _items(listed, (ValueType.STRING,), "texts", 0)]
    tokens = tuple(token or f"[EMPTY_{number}]" for number, token in enumerate(found))
    ids = {token: number for number, token in enumerate(tokens)}
    if len(ids) < len(tokens):
        twice = next(number for number, token in enumerate(tokens) if ids[token] != number)
        raise InputError(
            f"{_PREFIX}tokens: tokens {twice} and {ids[tokens[twice]]} are both {tokens[twice][:40]!r}; "
            "llama.cpp loads no such vocabulary"
        )
    return Vocabulary(_text(entries, _PREFIX + "model"), tokens, _types(entries, len(tokens)), ids, entries)


def _types(entries: Mapping[str, KeyValue], tokens: int) -> tuple[int, ...]:
    entry = entries.get(_PREFIX + "token_type")
    if entry is None:
        return (TokenType.NORMAL,) * tokens
    return tuple(int(kind) for kind in _items(entry, (ValueType.INT32,), "whole numbers", tokens)[:tokens])


def _text(entries: Mapping[str, KeyValue], key: str) -> str:
    entry = entries.get(key)
    if entry is None:
        return ""
    if not isinstance(entry.value, str):
        raise _wrong(key, "text", entry)
    return entry.value


def _items(entry: KeyValue, types: tuple[ValueType, ...], wanted: str, least: int) -> tuple[Scalar, ...]:
    if not isinstance(entry.value, tuple) or entry.item_type not in types:
        raise _wrong(entry.key, f"an array of {wanted}", entry)
    if len(entry.value) < least:
        raise InputError(f"{entry.key} has {len(entry.value):,} items, and there are {least:,} tokens")
    return entry.value


def _as_c_string(item: Scalar) -> Text:
    """llama.cpp reads each as a C string, which ends at a zero byte."""
    assert isinstance(item, str | bytes)
    if isinstance(item, str):
        return item.partition("\0")[0]
    cut = item.partition(b"\0")[0]
    try:
        return cut.decode()
    except UnicodeDecodeError:
        return cut


def _wrong(key: str, wanted: str, entry: KeyValue) -> InputError:
    kind = entry.type.name if entry.item_type is None else f"an array of {entry.item_type.name}"
    found: Value = entry.value if not isinstance(entry.value, tuple) else f"{len(entry.value)} items"
    return InputError(f"metadata key {key}: wanted {wanted}, found {kind} ({str(found)[:80]})")
