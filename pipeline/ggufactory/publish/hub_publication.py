"""Publishing a target to a repository of the Hugging Face hub, from the store, without a local copy."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial

from ggufactory.errors import InputError
from ggufactory.publish import card, sums
from ggufactory.publish.card import CARD
from ggufactory.publish.entry import Entry
from ggufactory.publish.figures_beside import digests, draw_figures
from ggufactory.publish.manifest import MANIFEST, Manifest, require
from ggufactory.publish.release import read_small
from ggufactory.publish.signing import SUFFIX, signed_sha256
from ggufactory.publish.sums import SUMS
from ggufactory.storage.hub_repository import HubRepository, holds
from ggufactory.storage.protocol import ObjectInfo, Store


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file as it is to be in the repository."""

    name: str
    size: int
    there: bool
    """The repository has it already."""
    entry: Entry | None
    data: bytes | None
    """Of what lies beside the artifacts; these have an `entry`."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What publishing would do."""

    repository: str
    exists: bool
    files: tuple[HubFile, ...]
    """The artifacts, then what lies beside them."""

    @property
    def missing(self) -> tuple[HubFile, ...]:
        return tuple(file for file in self.files if not file.there)


def plan_publication(store: Store, repository: HubRepository) -> Publication:
    """Compare the target with the repository; writes nothing. InputError when an artifact is not there, or is
    no longer the one in the manifest."""
    manifest = require(store)
    _check_artifacts(store, manifest)
    found = repository.files()
    there = found or {}
    files = [
        HubFile(name, entry["bytes"], holds(there, name, entry["bytes"], entry["sha256"]), entry, None)
        for name, entry in manifest.entries.items()
    ]
    for name, data in _beside(store, manifest, repository.uri).items():
        sha256 = hashlib.sha256(data).hexdigest()
        files.append(HubFile(name, len(data), holds(there, name, len(data), sha256, data), None, data))
    return Publication(repository.name, found is not None, tuple(files))


def carry_out(
    store: Store,
    repository: HubRepository,
    publication: Publication,
    *,
    private: bool,
    connections: int,
    on_sent: Callable[[str], None],
) -> str | None:
    """Send what is missing, `connections` files at once, and make all of it appear in one commit: its hash, or
    None when nothing was missing."""
    if not publication.missing:
        return None
    if not publication.exists:
        repository.create(private=private)
    artifacts = {file.name: file.entry for file in publication.missing if file.entry}

    def send(name: str, entry: Entry) -> str:
        repository.send(store, _stat(store, entry), entry["sha256"])
        return name

    with ThreadPoolExecutor(connections, thread_name_prefix="publish") as pool:
        try:
            for sent in as_completed([pool.submit(send, name, entry) for name, entry in artifacts.items()]):
                on_sent(sent.result())
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    rungs = sorted({entry["rung"] for entry in artifacts.values()})
    message = f"Add {', '.join(rungs)}" if rungs else "Bring the model card and the manifest up to date"
    return repository.commit({f.name: f.data for f in publication.missing if f.data is not None}, message)


def _beside(store: Store, manifest: Manifest, place: str) -> dict[str, bytes]:
    """By name. The card is made for the repository, unless the target has one of someone else's making; pictures and
    report are the target's own, and drawn where they are not what they should be."""
    drawn = dict(draw_figures(manifest, partial(read_small, store), read_small(store, SUMS) or b""))
    listed = sums.render_sums(manifest, digests(drawn))
    present = read_small(store, CARD)
    theirs = present is not None and not card.is_ours(present)
    files = {
        **drawn,
        CARD: present if present and theirs else card.render(manifest, place),
        SUMS: listed,
        MANIFEST: manifest.data,
    }
    for name in (SUMS, MANIFEST):
        signature = read_small(store, name + SUFFIX)
        if signature is not None and signed_sha256(signature) in (None, hashlib.sha256(files[name]).hexdigest()):
            files[name + SUFFIX] = signature
    return files


def _check_artifacts(store: Store, manifest: Manifest) -> None:
    for entry in manifest.entries.values():
        _stat(store, entry)


def _stat(store: Store, entry: Entry) -> ObjectInfo:
    """The artifact as it is now. What its bytes are, is seen when they are sent."""
    info = store.stat(entry["file"])
    if info is None or info.size != entry["bytes"]:
        found = "is missing" if info is None else f"has {info.size} bytes, wanted {entry['bytes']}"
        raise InputError(f"{store.uri}/{entry['file']} {found}", fix="Make it again with the job that made it")
    return info
