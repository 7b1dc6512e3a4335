"""`manifest.json`: what a target holds, where it came from, and how to check it. Written last.

Each artifact's entry stands alone, so that several jobs can share a target: an entry is replaced
when its file is made anew, and dropped when its file is gone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ggufactory import __version__
from ggufactory.errors import InputError, UnavailableError
from ggufactory.plan.files import FilePlan
from ggufactory.plan.plan import Plan, RungPlan
from ggufactory.reference import GGML_VERSION, LLAMA_CPP_COMMIT
from ggufactory.storage.checksum import Checksum
from ggufactory.storage.protocol import ObjectInfo, Store

MANIFEST = "manifest.json"
FORMAT = 1
_LIMIT = 64 << 20
_ATTEMPTS = 20

Entry = dict[str, Any]


def read(store: Store) -> tuple[dict[str, Entry], str | None]:
    """The entries by file name and the manifest's tag; empty and None when there is no manifest."""
    found = store.read(MANIFEST, limit=_LIMIT)
    if found is None:
        return {}, None
    data, info = found
    try:
        manifest = json.loads(data)
        if manifest["format"] != FORMAT:
            raise InputError(
                f"{store.uri}/{MANIFEST}: wanted format {FORMAT}, found {manifest['format']!r}",
                fix="Use the release of ggufactory that wrote it",
            )
        return {entry["file"]: entry for entry in manifest["artifacts"]}, info.etag
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{store.uri}/{MANIFEST} is not a manifest: {error!r}", fix="Move it away and start again"
        ) from error


def entries_of(plan: Plan, objects: Mapping[str, ObjectInfo], checksums: Mapping[str, Checksum]) -> dict[str, Entry]:
    """The entries of those files of the plan that have a checksum."""
    return {
        file.name: _entry(plan, rung, file, objects[file.name], checksums[file.name])
        for rung in plan.rungs
        for file in rung.files
        if file.name in checksums
    }


def is_current(entry: Entry | None, file: FilePlan, info: ObjectInfo) -> bool:
    """Whether an entry already tells the truth about a finished file."""
    return entry is not None and (entry["identity"], entry["etag"]) == (file.identity, info.etag)


def merge(store: Store, entries: Mapping[str, Entry]) -> None:
    """Put `entries` into the target's manifest, keeping those of other files that are still there.

    Two jobs may do so at once: each writes only over the manifest that it has read, and a job that
    completed a file lists it afterwards, so that the last entry of a file is that of its last bytes.
    InputError when another job has replaced one of ours.
    """
    for _ in range(_ATTEMPTS):
        present, tag = read(store)
        tags = {info.name: info.etag for info in store.list()}
        if replaced := [name for name, entry in entries.items() if tags.get(name) != entry["etag"]]:
            raise InputError(
                f"{store.uri}: {', '.join(replaced)} was replaced by another job while this one ended",
                fix="Give the two jobs different targets or names",
            )
        kept = {name: entry for name, entry in present.items() if tags.get(name) == entry["etag"]}
        artifacts = [entry for _, entry in sorted({**kept, **entries}.items())]
        data = json.dumps({"format": FORMAT, "artifacts": artifacts}, indent=1, ensure_ascii=False).encode()
        if store.put(MANIFEST, data, create_only=tag is None, if_match=tag):
            return
    raise UnavailableError(
        f"{store.uri}/{MANIFEST} is rewritten by other jobs all the time", fix="Start the same command again"
    )


def _entry(plan: Plan, rung: RungPlan, file: FilePlan, info: ObjectInfo, checksum: Checksum) -> Entry:
    importance = plan.importance
    return {
        "file": file.name,
        "rung": rung.name,
        "bytes": info.size,
        "crc32": f"{checksum.crc32:08x}",
        "sha256": checksum.sha256,
        "bits_per_weight": round(rung.bits_per_weight, 4),
        "types": dict(sorted(Counter(d.type for d in rung.decisions.values()).items())),
        "parts": file.parts,
        "etag": info.etag,
        "identity": file.identity,
        "plan": plan.fingerprint,
        "source": source_of(plan),
        "imatrix": None
        if importance is None
        else {
            "file": importance.file,
            "sha256": importance.sha256,
            "datasets": [_text(dataset) for dataset in importance.datasets],
            "chunks": importance.chunk_count,
            "entries": len(importance.entries),
            "coverage": None if importance.record is None else importance.record.coverage.policy,
        },
        "made_by": {
            "ggufactory": __version__,
            "reference": f"llama.cpp {LLAMA_CPP_COMMIT}, ggml {GGML_VERSION}",
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    }


def source_of(plan: Plan) -> Entry:
    """What an artifact was made from."""
    return {
        "uri": plan.source,
        "architecture": plan.architecture,
        "parameters": plan.elements,
        "files": [{"name": i.name, "bytes": i.size, "etag": i.etag} for i in plan.sources.values()],
    }


def _text(name: str | bytes) -> str:
    return name if isinstance(name, str) else name.decode(errors="replace")
