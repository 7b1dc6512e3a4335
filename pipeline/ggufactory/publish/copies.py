"""Artifacts that were copied together with their manifest, from one store to another or within one.

A store's tags mean nothing in a copy, so the entries of a copied manifest name none of the files beside it. Content
decides: a file of the entry's size and SHA-256 is the one that was made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ggufactory.errors import SourceChangedError
from ggufactory.publish.entry import Entry
from ggufactory.storage.checksum import checksum_object
from ggufactory.storage.protocol import ObjectInfo, Store


class Copies:
    """Of one store. A file is read once for each tag that it is seen with, however often it is asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sha256: dict[tuple[str, str], str] = {}

    def recognized(self, entries: Iterable[Entry], present: Mapping[str, ObjectInfo]) -> dict[str, Entry]:
        """Of `entries`, those whose file is among `present` with another tag and the same bytes, by file name and
        under the tag that the file has here. Reads every file of the right size, whole."""
        found = {}
        for entry in entries:
            info = present.get(entry["file"])
            if info is None or info.etag == entry["etag"] or info.size != entry["bytes"]:
                continue
            if self._content(info) == entry["sha256"]:
                found[info.name] = {**entry, "etag": info.etag}
        return found

    def _content(self, info: ObjectInfo) -> str:
        """Its SHA-256; empty when it is replaced while it is read."""
        key = (info.name, info.etag)
        if key not in self._sha256:
            try:
                self._sha256[key] = checksum_object(self._store, info).sha256
            except SourceChangedError:
                return ""
        return self._sha256[key]
