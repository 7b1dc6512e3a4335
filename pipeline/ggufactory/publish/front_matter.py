"""The front matter of a model card: what the hub finds and files a model by."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import yaml

from ggufactory.publish.entry import Entry
from ggufactory.publish.header import CardHeader

_TAGS = ("gguf", "llama.cpp", "quantized", "ggufactory")
_CARRIED = ("license", "license_name", "license_link", "language", "pipeline_tag")
_NOT_OURS = re.compile(
    r"region:.*|base_model:.*|license:.*|arxiv:.*|[a-z]+_compatible|safetensors|pytorch|transformers"
)
"""Tags that the hub sets by itself, or that speak of the source's files."""
_REPOSITORY = re.compile(r"hf://([^@/]+/[^@/]+)(?:@.*)?")
_ORDER = ("base_model", "base_model_relation", "quantized_by", "library_name", *_CARRIED, "tags")


def front_matter(entries: Sequence[Entry], header: CardHeader) -> str:
    """With its lines of dashes. What the sources' cards say is carried over where they all say the same."""
    fields: dict[str, object] = {}
    if models := sorted({name for entry in entries if (name := repository(entry))}):
        fields["base_model"] = models
        fields["base_model_relation"] = "quantized"
    cards = [entry["source"].get("card") or {} for entry in entries]
    for name in _CARRIED:
        if cards and name in cards[0] and all(card.get(name) == cards[0][name] for card in cards):
            fields[name] = _line(cards[0][name])
    given = header.front_matter.get("tags")
    fields.update(header.front_matter)
    fields["tags"] = _tags(cards, entries, given if isinstance(given, list) else [])
    ordered = {name: fields[name] for name in (*_ORDER, *fields) if name in fields}
    text = yaml.safe_dump(ordered, sort_keys=False, allow_unicode=True, default_flow_style=False, width=1000)
    return f"---\n{text}---\n"


def repository(entry: Entry) -> str | None:
    """`org/name` of the model on the hub that the artifact was made from, where it was."""
    found = _REPOSITORY.fullmatch(str(entry["source"].get("uri", "")))
    return found[1] if found else None


def _line(value: object) -> object:
    """Texts without line breaks, one of which could be taken for the end of the front matter."""
    if isinstance(value, list):
        return [_line(item) for item in value]
    return " ".join(value.split()) if isinstance(value, str) else value


def _tags(cards: Sequence[Mapping[str, object]], entries: Sequence[Entry], given: Sequence[object]) -> list[str]:
    tags = [*_TAGS, *(["imatrix"] if any(entry.get("imatrix") for entry in entries) else [])]
    for card in cards:
        carried = card.get("tags")
        texts = [" ".join(str(tag).split()) for tag in carried] if isinstance(carried, list) else []
        tags += [tag for tag in texts if not _NOT_OURS.fullmatch(tag)]
    return list(dict.fromkeys([*tags, *(str(tag) for tag in given)]))
