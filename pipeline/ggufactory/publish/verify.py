"""Reading every artifact of a target back and comparing it with the manifest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ggufactory.errors import InputError
from ggufactory.publish import manifest
from ggufactory.storage.checksum import checksum_object
from ggufactory.storage.protocol import Store


@dataclass(frozen=True, slots=True)
class Verdict:
    """On one artifact: `fault` is empty when its bytes are the ones that were made."""

    file: str
    rung: str
    bytes: int
    fault: str = ""


def verify(store: Store, on_verdict: Callable[[Verdict], None]) -> list[Verdict]:
    """Check size, CRC-32 and SHA-256 of every artifact. InputError when the target has no manifest."""
    entries, tag = manifest.read(store)
    if tag is None:
        raise InputError(
            f"{store.uri} has no {manifest.MANIFEST}",
            fix="Name the target of a finished `ggufactory quantize` run",
        )
    verdicts = []
    for entry in entries.values():
        verdict = Verdict(entry["file"], entry["rung"], entry["bytes"], _fault(store, entry))
        verdicts.append(verdict)
        on_verdict(verdict)
    return verdicts


def _fault(store: Store, entry: manifest.Entry) -> str:
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
