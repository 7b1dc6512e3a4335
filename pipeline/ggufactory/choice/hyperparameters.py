"""What a model's GGUF metadata says of the memory that it takes to run: a few numbers, as the manifest keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ggufactory.container.metadata import KeyValue

KEYS = (
    "block_count",
    "nextn_predict_layers",
    "context_length",
    "embedding_length",
    "attention.causal",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.key_length_mla",
    "attention.value_length_mla",
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "full_attention_interval",
    "shortconv.l_cache",
    "ssm.conv_kernel",
    "ssm.inner_size",
    "ssm.state_size",
    "ssm.group_count",
)
"""Without the architecture's name, which they begin with in a file."""
_VOCABULARY = "tokenizer.ggml.tokens"
_MAX_LAYERS = 4096
_MAX_NUMBER = 1 << 32


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """Of one model. Every number was found between 0 and 2**32."""

    architecture: str
    vocabulary: int
    """Tokens."""
    values: Mapping[str, int | tuple[int, ...]]
    """By `KEYS`; a tuple has one number for each layer."""

    @property
    def layers(self) -> int:
        """That run: those that predict further tokens are not counted."""
        return self.number("block_count") - self.number("nextn_predict_layers")

    def number(self, key: str, missing: int = 0) -> int:
        """The largest, where each layer has its own."""
        found = self.values.get(key, missing)
        return max(found, default=missing) if isinstance(found, tuple) else found

    def of_layer(self, key: str, layer: int, missing: int) -> int:
        """What holds for one layer."""
        found = self.values.get(key, missing)
        if isinstance(found, int):
            return found
        return found[layer] if layer < len(found) else missing

    def as_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in self.values.items()}
        return {"architecture": self.architecture, "vocabulary": self.vocabulary, **plain}


def of_metadata(metadata: Iterable[KeyValue]) -> Hyperparameters | None:
    """Of a file's header; None where it does not tell enough, or nothing that can be meant."""
    found = {entry.key: entry.value for entry in metadata}
    architecture, tokens = found.get("general.architecture"), found.get(_VOCABULARY, ())
    if not isinstance(architecture, str):
        return None
    told = {key: found[name] for key in KEYS if (name := f"{architecture}.{key}") in found}
    return from_json(
        {"architecture": architecture, "vocabulary": len(tokens) if isinstance(tokens, tuple) else 0, **told}
    )


def from_json(found: object) -> Hyperparameters | None:
    """As a manifest has them, which may be a stranger's; None where they cannot be meant."""
    if not isinstance(found, dict):
        return None
    architecture, vocabulary = found.get("architecture"), _number(found.get("vocabulary"))
    values = {key: _value(found[key]) for key in KEYS if key in found}
    known = {key: value for key, value in values.items() if value is not None}
    if not isinstance(architecture, str) or vocabulary is None or known.keys() != values.keys():
        return None
    made = Hyperparameters(architecture, vocabulary, known)
    needed = made.number("embedding_length") and made.number("attention.head_count")
    return made if needed and 0 < made.layers <= _MAX_LAYERS else None


def _value(found: object) -> int | tuple[int, ...] | None:
    if not isinstance(found, list | tuple):
        return _number(found)
    numbers = tuple(number for item in found[:_MAX_LAYERS] if (number := _number(item)) is not None)
    return numbers if len(numbers) == len(found) else None


def _number(found: object) -> int | None:
    """Truth values count as 0 and 1."""
    return int(found) if isinstance(found, int) and 0 <= found < _MAX_NUMBER else None
