"""`manifest.json`: what a target holds, where it came from, and how to check it.

Several jobs can share a target: an entry is replaced when its file is made anew, and dropped when its
file is gone or holds something else. A target that was copied keeps its entries.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from ggufactory.errors import InputError, UnavailableError
from ggufactory.publish.copies import Copies
from ggufactory.publish.entry import Entry, check, entries_of, is_current, source_of
from ggufactory.publish.header import CardHeader
from ggufactory.storage.protocol import Store

__all__ = [
    "MANIFEST",
    "Entry",
    "Manifest",
    "entries_of",
    "is_current",
    "load",
    "merge",
    "read",
    "require",
    "source_of",
]

MANIFEST = "manifest.json"
FORMAT = 2
READABLE = (1, 2)
"""Format 1 has no card, and entries without `name`, `file_type`, `recipe` and `options`."""
_LIMIT = 64 << 20
_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Manifest:
    """As it was read."""

    entries: Mapping[str, Entry]
    """By file name, sorted."""
    header: CardHeader
    """What the model card begins with."""
    format: int
    data: bytes
    etag: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def load(store: Store) -> Manifest | None:
    """The target's manifest, or None. InputError when it is none, or of a later release."""
    found = store.read(MANIFEST, limit=_LIMIT)
    if found is None:
        return None
    data, info = found
    try:
        parsed = json.loads(data, parse_constant=_finite, parse_float=_finite)
        if parsed["format"] not in READABLE:
            raise InputError(
                f"{store.uri}/{MANIFEST}: wanted format {FORMAT}, found {parsed['format']!r}",
                fix="Use the release of ggufactory that wrote it",
            )
        entries = {entry["file"]: entry for entry in map(check, parsed["artifacts"])}
        header = CardHeader.from_json(parsed.get("card"))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{store.uri}/{MANIFEST} is not a manifest: {_reason(error)}", fix="Move it away and start again"
        ) from error
    return Manifest(dict(sorted(entries.items())), header, parsed["format"], data, info.etag)


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing"
    return "wanted an object with a list of artifacts" if isinstance(error, TypeError) else str(error)


def _finite(text: str) -> float:
    """What we could write again: JSON has no infinity, and no limit for exponents."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no finite number")
    return number


def require(store: Store) -> Manifest:
    """As `load`; InputError when the target has none."""
    found = load(store)
    if found is None:
        raise InputError(
            f"{store.uri} has no {MANIFEST}", fix="Name the target of a finished `ggufactory quantize` run"
        )
    return found


def read(store: Store) -> tuple[Mapping[str, Entry], str | None]:
    """The entries by file name and the manifest's tag; empty and None when there is no manifest."""
    found = load(store)
    return (found.entries, found.etag) if found else ({}, None)


def merge(store: Store, entries: Mapping[str, Entry], header: CardHeader | None = None) -> None:
    """Put `entries` into the target's manifest, keeping those of other files that are still there, and
    `header` where it is given. Files that are there under another tag than listed, as in a copy of a target, are
    read: their entries are kept where the bytes are those that were made.

    Two jobs may do so at once: each writes only over the manifest that it has read, and a job that
    completed a file lists it afterwards, so that the last entry of a file is that of its last bytes.
    InputError when another job has replaced one of ours.
    """
    copies = Copies(store)
    for _ in range(_ATTEMPTS):
        found = load(store)
        present = found.entries if found else {}
        objects = {info.name: info for info in store.list()}
        tags = {name: info.etag for name, info in objects.items()}
        if replaced := [name for name, entry in entries.items() if tags.get(name) != entry["etag"]]:
            raise InputError(
                f"{store.uri}: {', '.join(replaced)} was replaced by another job while this one ended",
                fix="Give the two jobs different targets or names",
            )
        kept = {name: entry for name, entry in present.items() if tags.get(name) == entry["etag"]}
        others = (entry for name, entry in present.items() if name not in entries)
        kept |= copies.recognized(others, objects)
        used = header or (found.header if found else CardHeader())
        data = _encode({**kept, **entries}, used)
        if found and found.data == data:
            return
        if store.put(MANIFEST, data, create_only=found is None, if_match=found.etag if found else None):
            return
    raise UnavailableError(
        f"{store.uri}/{MANIFEST} is rewritten by other jobs all the time", fix="Start the same command again"
    )


def _encode(entries: Mapping[str, Entry], header: CardHeader) -> bytes:
    artifacts = [entry for _, entry in sorted(entries.items())]
    content = {"format": FORMAT, "card": header.as_json(), "artifacts": artifacts}
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"
