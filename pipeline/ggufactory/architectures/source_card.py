"""What a card of quants carries over from the source's own: its license, its languages, what it is for.

From the front matter of README.md, or from a GGUF file's `general.*` keys. Both are a stranger's:
what is longer than such values are, or of another kind, is left out.
"""

from __future__ import annotations

from ggufactory.architectures.general import model_card
from ggufactory.checkpoint import Checkpoint, GgufCheckpoint

_TEXTS = ("license", "license_name", "license_link", "pipeline_tag")
_LISTS = ("language", "tags")
_GGUF_KEYS = {
    "license": "general.license",
    "license_name": "general.license.name",
    "license_link": "general.license.link",
    "language": "general.languages",
    "tags": "general.tags",
}
_MAX_TEXT = 300
_MAX_ITEMS = 100


def source_card(checkpoint: Checkpoint | GgufCheckpoint) -> dict[str, object]:
    """The fields that are there: texts, and `language` and `tags` as lists of texts."""
    if isinstance(checkpoint, Checkpoint):
        said = model_card(checkpoint)
    else:
        keys = {kv.key: kv.value for kv in checkpoint.metadata}
        said = {field: keys[key] for field, key in _GGUF_KEYS.items() if key in keys}
    found: dict[str, object] = {}
    for field in _TEXTS:
        if (text := _text(said.get(field))) is not None:
            found[field] = text
    for field in _LISTS:
        value = said.get(field)
        items = value if isinstance(value, list | tuple) else [value]
        texts = [text for item in items[:_MAX_ITEMS] if (text := _text(item)) is not None]
        if texts:
            found[field] = texts
    return found


def _text(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    line = " ".join(value.split())
    return line if 0 < len(line) <= _MAX_TEXT and line.isprintable() else None
