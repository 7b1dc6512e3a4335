"""A consumer's side: one rung of a target, downloaded and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ggufactory.errors import InputError
from ggufactory.publish.entry import Entry
from ggufactory.publish.manifest import MANIFEST, require
from ggufactory.publish.rungs import MadeRung, made_rungs, select
from ggufactory.publish.signing import SUFFIX, Verifier
from ggufactory.publish.verify import signature_fault
from ggufactory.storage.download import download, file_sha256
from ggufactory.storage.protocol import ObjectInfo, Store


class FetchWatcher(Protocol):
    """Who is told how a download goes."""

    def begin(self, name: str, size: int) -> None:
        """A file of `size` bytes is about to come."""

    def there(self, count: int) -> None:
        """So many more bytes of it are there."""

    def end(self, name: str, *, already: bool) -> None:
        """It is whole and right; `already` before this run."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A rung that is on this machine now."""

    rung: MadeRung
    files: tuple[Path, ...]
    """In the order of a split: llama.cpp is given the first."""


def find_rung(store: Store, wanted: str, name: str | None, key: Verifier | None) -> MadeRung:
    """The rung in the target's manifest. With `key` the manifest has to be signed by it. InputError when there
    is no manifest, no such rung, or several of that name."""
    manifest = require(store)
    if key is not None and (fault := signature_fault(store, MANIFEST, manifest.data, key)):
        raise InputError(f"{store.uri}/{MANIFEST}{SUFFIX}: {fault}", fix="Do not use what cannot be trusted")
    return select(made_rungs(manifest.entries.values()), wanted, name, store.uri)


def fetch(store: Store, rung: MadeRung, folder: Path, *, connections: int, watcher: FetchWatcher) -> Fetched:
    """Bring all files of a rung into `folder`. What is there and right stays; what was interrupted goes on.
    Errors as of `storage.download.download`."""
    files = []
    for entry in rung.files:
        target = folder / entry["file"]
        files.append(target)
        watcher.begin(entry["file"], entry["bytes"])
        already = (
            target.is_file() and target.stat().st_size == entry["bytes"] and file_sha256(target) == entry["sha256"]
        )
        if not already:
            info = _find(store, entry)
            download(store, info, entry["sha256"], target, connections=connections, on_bytes=watcher.there)
        watcher.end(entry["file"], already=already)
    return Fetched(rung, tuple(files))


def _find(store: Store, entry: Entry) -> ObjectInfo:
    info = store.stat(entry["file"])
    if info is None:
        raise InputError(f"{store.uri}/{entry['file']} is in the manifest, but is missing", fix="Ask its publisher")
    if info.size != entry["bytes"]:
        raise InputError(
            f"{store.uri}/{entry['file']}: wanted {entry['bytes']:,} bytes, found {info.size:,}",
            fix="The target is being changed, or is damaged: try again, or ask its publisher",
        )
    return info
