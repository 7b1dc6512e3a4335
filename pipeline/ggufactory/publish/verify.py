"""Reading a target back: every artifact is compared with the manifest, and so is what lies beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ggufactory.publish import card, figures_beside, sums
from ggufactory.publish.card import CARD
from ggufactory.publish.entry import Entry
from ggufactory.publish.figures_beside import digests, figure_files, is_right
from ggufactory.publish.manifest import FORMAT, MANIFEST, Manifest, require
from ggufactory.publish.place import place_of
from ggufactory.publish.release import LATEST, read_small, render_latest
from ggufactory.publish.signing import SUFFIX, Verifier
from ggufactory.publish.sums import SUMS
from ggufactory.storage.checksum import checksum_object
from ggufactory.storage.protocol import Store


@dataclass(frozen=True, slots=True)
class Verdict:
    """On one object: `fault` is empty when its bytes are the ones that were made."""

    file: str
    rung: str
    """Empty for what lies beside the artifacts."""
    bytes: int
    fault: str = ""


def verify(store: Store, key: Verifier | None, on_verdict: Callable[[Verdict], None]) -> list[Verdict]:
    """Check size, CRC-32 and SHA-256 of every artifact, what lies beside them, and with `key` the
    signatures. InputError when the target has no manifest."""
    manifest = require(store)
    verdicts = []
    for verdict in _verdicts(store, manifest, key):
        verdicts.append(verdict)
        on_verdict(verdict)
    return verdicts


def signature_fault(store: Store, name: str, data: bytes, key: Verifier) -> str:
    """Why `data`, the content of `name`, does not count as signed by `key`; empty when it does."""
    signature = read_small(store, name + SUFFIX)
    return "is missing" if signature is None else key.fault(name, data, signature)


def _verdicts(store: Store, manifest: Manifest, key: Verifier | None) -> Iterator[Verdict]:
    for entry in manifest.entries.values():
        yield Verdict(entry["file"], entry["rung"], entry["bytes"], _fault(store, entry))
    yield from _figures(store, manifest)
    yield from _beside(store, manifest)
    if key is not None:
        for name, data in ((MANIFEST, manifest.data), (SUMS, _wanted_sums(store, manifest))):
            yield Verdict(name + SUFFIX, "", len(data), signature_fault(store, name, data, key))


def _figures(store: Store, manifest: Manifest) -> Iterator[Verdict]:
    """Pictures and report carry the digest of their figures, and SHA256SUMS lists their bytes: nothing is drawn."""
    listed = read_small(store, SUMS) or b""
    for file in figure_files(manifest):
        present = read_small(store, file.name)
        if present is None:
            yield Verdict(file.name, "", 0, "is missing")
        elif file.mark not in present:
            if figures_beside.is_ours(present):
                yield Verdict(file.name, "", len(present), f"is not that of this {MANIFEST}")
        elif sums.is_ours(listed) and not is_right(present, file.mark, file.name, listed):
            yield Verdict(file.name, "", len(present), f"is not the one that {SUMS} lists")
        else:
            yield Verdict(file.name, "", len(present))


def _wanted_sums(store: Store, manifest: Manifest) -> bytes:
    """With the pictures and the report that are there."""
    there = {file.name: read_small(store, file.name) for file in figure_files(manifest)}
    ours = {name: data for name, data in there.items() if data is not None and figures_beside.is_ours(data)}
    return sums.render_sums(manifest, digests(ours))


def _beside(store: Store, manifest: Manifest) -> Iterator[Verdict]:
    """Of a manifest of an earlier format, only what is there. A card or a list of someone else's is not judged;
    a published target has no pointer."""
    place = place_of(store)
    wanted = [
        (CARD, card.render(manifest, place), card.is_ours),
        (SUMS, _wanted_sums(store, manifest), sums.is_ours),
    ]
    if not place.startswith("hf://"):
        wanted.append((LATEST, render_latest(manifest), lambda _: True))
    for name, data, is_ours in wanted:
        present = read_small(store, name)
        if present is None:
            if manifest.format == FORMAT:
                yield Verdict(name, "", len(data), "is missing")
        elif is_ours(present):
            yield Verdict(name, "", len(present), "" if present == data else f"is not that of this {MANIFEST}")


def _fault(store: Store, entry: Entry) -> str:
    info = store.stat(entry["file"])
    if info is None:
        return "is missing"
    if info.size != entry["bytes"]:
        return f"wanted {entry['bytes']} bytes, found {info.size}"
    found = checksum_object(store, info)
    if found.sha256 != entry["sha256"]:
        return f"wanted SHA-256 {entry['sha256']}, found {found.sha256}"
    if f"{found.crc32:08x}" != entry["crc32"]:
        return f"wanted CRC-32 {entry['crc32']}, found {found.crc32:08x}"
    return ""
