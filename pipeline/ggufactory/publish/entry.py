"""One artifact's entry in the manifest: what it is, how to check it, and all that it was made from.

An entry stands alone, so that several jobs can share a target. docs/manifest.md says what each field
means; docs/manifest.schema.json is the same for programs.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from ggufactory import __version__
from ggufactory.calibrate.imatrix import ImportanceMatrix
from ggufactory.choice.hyperparameters import of_metadata
from ggufactory.container.metadata import KeyValue
from ggufactory.plan.files import FilePlan
from ggufactory.plan.options import NO_OPTIONS, Options
from ggufactory.plan.plan import Plan, RungPlan
from ggufactory.publish import recipe
from ggufactory.reference import GGML_VERSION, LLAMA_CPP_COMMIT
from ggufactory.storage.checksum import Checksum
from ggufactory.storage.protocol import ObjectInfo

Entry = dict[str, Any]

_COMMIT = re.compile(r"hf://[^@]+@([0-9a-f]{40})(?:/|$)")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CRC32 = re.compile(r"[0-9a-f]{8}")
_PLAIN_NAME = re.compile(r"[^\x00-\x1f\x7f/]{1,255}")
_MAX_BYTES = 1 << 60


def entries_of(
    plan: Plan,
    objects: Mapping[str, ObjectInfo],
    checksums: Mapping[str, Checksum],
    backends: Sequence[str],
    errors: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
) -> dict[str, Entry]:
    """The entries, by file name, of those files of the plan that have a checksum. `backends`: what quantized;
    `errors`: by file name, the relative errors of its tensors, as far as they were measured."""
    made = {**made_by(), "kernels": sorted(backends)}
    return {
        file.name: {
            **_artifact(plan, rung, file, objects[file.name], checksums[file.name]),
            "source": source_of(plan),
            "imatrix": _imatrix(plan.importance),
            **({"errors": dict(errors[file.name])} if errors.get(file.name) else {}),
            "made_by": made,
        }
        for rung in plan.rungs
        for file in rung.files
        if file.name in checksums
    }


def made_by() -> Entry:
    """This release, what it equals, and now."""
    return {
        "ggufactory": __version__,
        "reference": f"llama.cpp {LLAMA_CPP_COMMIT}, ggml {GGML_VERSION}",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def check(entry: object) -> Entry:
    """The entry, when what others rely on is there and can be meant; ValueError that names the field.

    Manifests are read from anywhere: names become files, sizes become buffers.
    """
    if not isinstance(entry, dict):
        raise ValueError("an artifact that is no object")
    name = entry.get("file")
    if not isinstance(name, str) or not is_plain_name(name):
        raise ValueError(f"file: wanted a plain file name, found {str(name)[:100]!r}")
    size = entry.get("bytes")
    if type(size) is not int or not 0 <= size < _MAX_BYTES:
        raise ValueError(f"{name}: bytes: wanted a size, found {str(size)[:100]!r}")
    for field, wanted in (("sha256", _SHA256), ("crc32", _CRC32)):
        if not isinstance(value := entry.get(field), str) or not wanted.fullmatch(value):
            raise ValueError(f"{name}: {field}: wanted hexadecimal digits, found {str(value)[:100]!r}")
    for field in ("rung", "etag", "identity", "plan"):
        if not isinstance(entry.get(field), str):
            raise ValueError(f"{name}: {field}: wanted text")
    for field in ("types", "source", "made_by"):
        if not isinstance(entry.get(field), dict):
            raise ValueError(f"{name}: {field}: wanted an object")
    for value, wanted_kind, where in (
        (entry.get("bits_per_weight"), int | float, "bits_per_weight"),
        (entry.get("file_type", ""), str, "file_type"),
        (entry.get("imatrix"), dict | None, "imatrix"),
        (entry["source"].get("card", {}), dict, "source.card"),
    ):
        if not isinstance(value, wanted_kind):
            raise ValueError(f"{name}: {where}: wanted another kind of value")
    errors = entry.get("errors", {})
    if not isinstance(errors, dict) or not all(_is_error(value) for value in errors.values()):
        raise ValueError(f"{name}: errors: wanted a relative error for each tensor")
    return entry


def _is_error(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf  # type: ignore[operator]


def is_plain_name(name: str) -> bool:
    """Whether a file beside the manifest may be called so."""
    return _PLAIN_NAME.fullmatch(name) is not None and not name.startswith(".")


def is_current(entry: Entry | None, file: FilePlan, info: ObjectInfo) -> bool:
    """Whether an entry already tells the truth about a finished file."""
    return entry is not None and (entry["identity"], entry["etag"]) == (file.identity, info.etag)


def _artifact(plan: Plan, rung: RungPlan, file: FilePlan, info: ObjectInfo, checksum: Checksum) -> Entry:
    first, stop = file.tensors
    held = {tensor.name: rung.decisions[tensor.name].type for tensor in plan.tensors[first:stop]}
    return {
        "file": file.name,
        "name": plan.name,
        "rung": rung.name,
        "file_type": rung.rung.file_type.name,
        "bytes": info.size,
        "crc32": f"{checksum.crc32:08x}",
        "sha256": checksum.sha256,
        "bits_per_weight": round(rung.bits_per_weight, 4),
        "types": dict(sorted(Counter(d.type for d in rung.decisions.values()).items())),
        "recipe": recipe.compact(held),
        "options": _options(rung.rung.options),
        **_hyperparameters(rung),
        "parts": file.parts,
        "etag": info.etag,
        "identity": file.identity,
        "plan": plan.fingerprint,
    }


def _hyperparameters(rung: RungPlan) -> Entry:
    found = of_metadata(rung.metadata)
    return {"hyperparameters": found.as_json()} if found else {}


def source_of(plan: Plan) -> Entry:
    """What an artifact was made from."""
    commit = _COMMIT.match(plan.source)
    return {
        "uri": plan.source,
        "revision": commit[1] if commit else None,
        "architecture": plan.architecture,
        "parameters": plan.elements,
        "files": [_source_file(info, on_hub=commit is not None) for info in plan.sources.values()],
        "read": dict(sorted(plan.provenance.read.items())),
        "card": dict(plan.provenance.card),
    }


def _source_file(info: ObjectInfo, *, on_hub: bool) -> Entry:
    """The hub's tag of a large file is its SHA-256; elsewhere nobody has hashed it."""
    known = {"sha256": info.etag} if on_hub and _SHA256.fullmatch(info.etag) else {}
    return {"name": info.name, "bytes": info.size, "etag": info.etag, **known}


def _imatrix(importance: ImportanceMatrix | None) -> Entry | None:
    if importance is None:
        return None
    return {
        "file": importance.file,
        "sha256": importance.sha256,
        "datasets": [_text(dataset) for dataset in importance.datasets],
        "chunks": importance.chunk_count,
        "entries": len(importance.entries),
        "coverage": None if importance.record is None else importance.record.coverage.policy,
    }


def _options(options: Options) -> Entry:
    """Those that were given."""
    given = {f.name: getattr(options, f.name) for f in fields(options)}
    return {name: _plain(value) for name, value in given.items() if value != getattr(NO_OPTIONS, name)}


def _plain(value: object) -> object:
    if isinstance(value, KeyValue):
        return [value.key, value.type.name, _plain(value.value)]
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):  # JSON has no word for it
        return str(value)
    return _text(value) if isinstance(value, bytes) else value


def _text(name: str | bytes) -> str:
    return name if isinstance(name, str) else name.decode(errors="replace")
