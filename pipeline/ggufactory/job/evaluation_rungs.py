"""Which files are evaluated, and where it is told what was found: a target's manifest, or GGUF files by name."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from ggufactory.checkpoint.gguf_names import SUFFIX
from ggufactory.errors import InputError
from ggufactory.evaluate.rung_file import RungFile
from ggufactory.publish import manifest
from ggufactory.publish.release import release
from ggufactory.publish.rungs import MadeRung, rungs_of_model
from ggufactory.publish.signing import Signer
from ggufactory.storage import open_store
from ggufactory.storage.protocol import Store

_PART = re.compile(r"-00001-of-\d{5,}$")


def open_rungs(places: Sequence[str], ladder: Collection[str] = (), name: str | None = None) -> list[RungFile]:
    """The files of `places`, each a target or a GGUF file (of a split, the first); the largest first.

    `ladder`: of targets, these rungs alone; `name`: of targets with several models, the files' name. InputError for a
    target without a manifest, a rung that is not there, or two files of one name.
    """
    found: dict[str, RungFile] = {}
    for place in places:
        files = [RungFile(_stem(place), place)] if place.endswith(SUFFIX) else _of_target(place, ladder, name)
        for file in files:
            if (other := found.setdefault(file.name, file)) is not file:
                raise InputError(f"{file.uri} and {other.uri} have the same name, {file.name}", fix="Give one of them")
    return sorted(found.values(), key=lambda file: -file.size)


def record(
    places: Sequence[str],
    name: str | None,
    files: Sequence[RungFile],
    quality: Mapping[str, Mapping[str, Any]],
    signer: Signer | None,
    warn: Callable[[str], None],
) -> None:
    """Put what was found of rungs, by name, into the manifests of those `places` that are targets, and into their
    cards. A target that cannot be written to, or a rung that is no longer of those `files`, is a warning."""
    measured = {file.name: file.sums for file in files}
    for place in places:
        if place.endswith(SUFFIX):
            continue
        store = open_store(place)
        try:
            entries = {}
            for rung in rungs_of(store, place, name):
                if rung.rung in quality and sums_of(rung) == measured[rung.rung]:
                    entries[rung.first] = {**rung.files[0], "quality": dict(quality[rung.rung])}
                elif rung.rung in quality:
                    warn(f"{place}: {rung.rung} was made anew while it was evaluated: its figures are not listed")
            manifest.merge(store, entries)
            release(store, signer, warn)
        except InputError as error:
            warn(f"{place}: the figures are not in its manifest: {error.message}")


def sums_of(rung: MadeRung) -> tuple[str, ...]:
    """SHA-256 of its files, in order."""
    return tuple(str(entry["sha256"]) for entry in rung.files)


def _of_target(target: str, ladder: Collection[str], name: str | None) -> list[RungFile]:
    rungs = {rung.rung: rung for rung in rungs_of(open_store(target), target, name)}
    if missing := [rung for rung in ladder if rung not in rungs]:
        raise InputError(f"{target} has no {', '.join(missing)}; it has {', '.join(rungs)}")
    chosen = [rung for called, rung in rungs.items() if not ladder or called in ladder]
    return [RungFile(rung.rung, f"{target.rstrip('/')}/{rung.first}", sums_of(rung)) for rung in chosen]


def rungs_of(store: Store, target: str, name: str | None) -> list[MadeRung]:
    """The rungs of the manifest of `store`, which is `target`. InputError where they are of several models and `name`
    does not choose one, and where there are none."""
    return rungs_of_model(manifest.require(store).entries.values(), name, target)


def _stem(uri: str) -> str:
    return _PART.sub("", posixpath.basename(uri).removesuffix(SUFFIX))
