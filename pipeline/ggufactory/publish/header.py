"""What a publisher puts at the head of a model card: fields for its front matter, and a text.

A header is a Markdown file, its front matter optional. It is kept in the manifest, from which the card
can then be made anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

from ggufactory.errors import InputError
from ggufactory.storage import open_file

_LIMIT = 256 << 10


@dataclass(frozen=True, slots=True)
class CardHeader:
    """Empty unless a publisher gave one."""

    front_matter: Mapping[str, object] = field(default_factory=dict)
    """Fields over those that the card has by itself; tags are added to its own."""
    text: str = ""
    """Markdown, in place of the card's title and first paragraph."""

    @classmethod
    def from_json(cls, value: object) -> CardHeader:
        """As the manifest keeps it. ValueError when it is another thing."""
        if value is None:
            return cls()
        if not isinstance(value, dict):
            raise ValueError("card: wanted an object")
        matter, text = value.get("front_matter", {}), value.get("text", "")
        if not isinstance(matter, dict) or not isinstance(text, str):
            raise ValueError("card: wanted front_matter, an object, and text")
        return cls(matter, text)

    def as_json(self) -> dict[str, object]:
        return {"front_matter": dict(self.front_matter), "text": self.text}


def read_header(uri: str) -> CardHeader:
    """The header in a Markdown file, local or on S3. InputError when it cannot be one."""
    store, name = open_file(uri)
    found = store.read(name, limit=_LIMIT)
    if found is None:
        raise InputError(f"card header {uri}: there is no such file")
    try:
        text = found[0].decode()
    except UnicodeDecodeError as error:
        raise InputError(f"card header {uri} is not UTF-8 text: {error}") from error
    lines = text.splitlines()
    if not lines or lines[0].rstrip() != "---":
        return CardHeader(text=text.strip())
    if "---" not in lines[1:]:
        raise InputError(f"card header {uri}: its front matter has no end", fix="End it with a line of ---")
    end = lines.index("---", 1)
    try:
        matter = yaml.safe_load("\n".join(lines[1:end])) or {}
        # The manifest is JSON: what it cannot keep (dates, sets) is refused here.
        json.dumps(matter, allow_nan=False)
    except (yaml.YAMLError, TypeError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"card header {uri}: its front matter cannot be used: {reason}") from error
    if not isinstance(matter, dict) or not all(isinstance(key, str) for key in matter):
        raise InputError(f"card header {uri}: its front matter has to be fields with names")
    return CardHeader(matter, "\n".join(lines[end + 1 :]).strip())
