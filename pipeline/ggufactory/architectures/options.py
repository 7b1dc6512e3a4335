"""What a user may say about how a checkpoint is to be understood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ggufactory.checkpoint.json_object import parse_json_object
from ggufactory.errors import InputError
from ggufactory.storage import open_file

MAX_METADATA_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ConversionOptions:
    """`exact_source`: quantize from the source's own numbers, where the usual way rounds them to BF16 first;
    `pre_tokenizer`: llama.cpp's name, for a byte-level tokenizer whose definition is not known; `metadata`:
    `general.*` keys instead of what the model card and config.json say."""

    exact_source: bool = False
    pre_tokenizer: str | None = None
    metadata: Mapping[str, object] = field(default_factory=dict)


USUAL = ConversionOptions()


def read_metadata(uri: str) -> Mapping[str, object]:
    """The JSON object of such keys in a file, as the converter's --metadata takes it. InputError."""
    store, name = open_file(uri)
    found = store.read(name, limit=MAX_METADATA_BYTES)
    if found is None:
        raise InputError(f"{uri}: there is no such file")
    metadata = parse_json_object(found[0], uri)
    if strange := [key for key in metadata if not key.startswith("general.")]:
        raise InputError(
            f"{uri}: {', '.join(map(ascii, strange[:5]))}: only general.* keys describe a model",
            fix="Set other keys with --override-kv",
        )
    return metadata
