"""Which files are evaluated: those that a target's manifest lists, or GGUF files by name."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Sequence

from ggufactory.checkpoint.gguf_names import SUFFIX
from ggufactory.errors import InputError
from ggufactory.evaluate.rung_file import RungFile
from ggufactory.publish import manifest
from ggufactory.storage import open_store

_PART = re.compile(r"-00001-of-\d{5,}$")


def open_rungs(places: Sequence[str], ladder: Collection[str] = ()) -> list[RungFile]:
    """The files of `places`, each a target or a GGUF file (of a split, the first); the largest first.

    `ladder`: of targets, these rungs alone. InputError for a target without a manifest, a rung that is not there,
    or two files of one name.
    """
    found: dict[str, RungFile] = {}
    for place in places:
        files = {_stem(place): place} if place.endswith(SUFFIX) else _of_target(place, ladder)
        for name, uri in files.items():
            if name in found:
                raise InputError(f"{uri} and {found[name].uri} have the same name, {name}", fix="Give one of them")
            found[name] = RungFile(name, uri)
    return sorted(found.values(), key=lambda file: -file.size)


def _stem(uri: str) -> str:
    return _PART.sub("", posixpath.basename(uri).removesuffix(SUFFIX))


def _of_target(target: str, ladder: Collection[str]) -> dict[str, str]:
    entries, tag = manifest.read(open_store(target))
    if tag is None:
        raise InputError(f"{target}: there is no {manifest.MANIFEST}", fix="Give a target of ours, or GGUF files")
    # A split's files come in order, and the first stands for all.
    firsts: dict[str, str] = {}
    for name, entry in sorted(entries.items()):
        firsts.setdefault(entry["rung"], name)
    if missing := [rung for rung in ladder if rung not in firsts]:
        raise InputError(f"{target} has no {', '.join(missing)}; it has {', '.join(firsts)}")
    return {rung: f"{target.rstrip('/')}/{name}" for rung, name in firsts.items() if not ladder or rung in ladder}
