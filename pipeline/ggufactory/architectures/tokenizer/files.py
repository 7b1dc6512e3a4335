"""The small files beside the weights that a vocabulary is made of, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ggufactory.architectures.tokenizer.pre_tokenizer_names import check_name
from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError

JsonObject = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """Files that are not there are empty, except where it matters that they are not."""

    checkpoint: Checkpoint
    config: JsonObject
    """config.json, as it is."""
    tokenizer: JsonObject | None
    """tokenizer.json."""
    tokenizer_config: JsonObject
    added_tokens: JsonObject
    special_tokens_map: JsonObject
    pre: str | None = None
    """llama.cpp's name of the pre-tokenizer, where the user gives it."""

    @classmethod
    def of(cls, checkpoint: Checkpoint, pre: str | None = None) -> TokenizerFiles:
        """InputError where one of them is no JSON object, or llama.cpp knows no pre-tokenizer called `pre`."""
        if pre is not None:
            check_name(pre)
        return cls(
            checkpoint,
            config=checkpoint.read_json("config.json") or {},
            tokenizer=checkpoint.read_json("tokenizer.json"),
            tokenizer_config=checkpoint.read_json("tokenizer_config.json") or {},
            added_tokens=checkpoint.read_json("added_tokens.json") or {},
            special_tokens_map=checkpoint.read_json("special_tokens_map.json") or {},
            pre=pre,
        )


def object_at(holder: JsonObject, key: str, where: str) -> JsonObject:
    """The object under `key`, empty where there is none or null. InputError for anything else."""
    value = holder.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f"{where}: {key} is {clip(value)}, wanted an object")
    return value


def objects_at(holder: JsonObject, key: str, where: str) -> list[JsonObject]:
    """The array of objects under `key`, empty where there is none or null. InputError for anything else."""
    value = holder.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InputError(f"{where}: {key} is {clip(value)}, wanted an array of objects")
    return value


def token_id(value: object, where: str) -> int:
    """InputError unless `value` is a whole number from 0 to 2^31 - 1."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 31:
        raise InputError(f"{where}: {clip(value)} is no token id", fix="Correct it, or remove the entry")
    return value


def added_tokens_decoder(files: TokenizerFiles) -> list[tuple[int, JsonObject]]:
    """`added_tokens_decoder` of tokenizer_config.json: an id and what the token is, in the file's order.

    InputError where an id is none, or the token has no text.
    """
    where = "tokenizer_config.json, added_tokens_decoder"
    decoder = object_at(files.tokenizer_config, "added_tokens_decoder", "tokenizer_config.json")
    found = []
    for key in decoder:
        number = token_id(int(key) if key.isascii() and key.isdecimal() and len(key) < 11 else key, where)
        entry = object_at(decoder, key, where)
        text_of(entry, f"{where}, token {number}")
        found.append((number, entry))
    return found


def text_of(entry: JsonObject, where: str) -> str:
    """The text of an added token. InputError where there is none."""
    text = entry.get("content")
    if not isinstance(text, str):
        raise InputError(f"{where}: the content is {clip(text)}, wanted text")
    return text
