"""The rungs that a target holds, each with its file or files; and which of them someone means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ggufactory.errors import InputError
from ggufactory.publish.entry import Entry

IMATRIX = "imatrix"
"""In the place of a rung's name: the file is the importance matrix that the rungs were made with."""
_ENDING = re.compile(r"(-\d{5}-of-\d{5})?\.gguf$")


@dataclass(frozen=True, slots=True)
class MadeRung:
    """One rung of one model."""

    name: str
    """Of the files: NAME-RUNG.gguf."""
    rung: str
    files: tuple[Entry, ...]
    """In the order of a split."""

    @property
    def bytes(self) -> int:
        return sum(entry["bytes"] for entry in self.files)

    @property
    def bits_per_weight(self) -> float:
        return float(self.files[0]["bits_per_weight"])

    @property
    def first(self) -> str:
        """The file that llama.cpp is given."""
        return str(self.files[0]["file"])

    @property
    def pattern(self) -> str:
        """Matches its files and no others of the target."""
        return f"{self.name}-{self.rung}-*-of-*.gguf" if len(self.files) > 1 else self.first


def made_rungs(entries: Iterable[Entry]) -> list[MadeRung]:
    """By model, each with its largest rung first."""
    found: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        found.setdefault((_name(entry), entry["rung"]), []).append(entry)
    rungs = [MadeRung(*key, tuple(sorted(files, key=lambda e: e["file"]))) for key, files in found.items()]
    return sorted(rungs, key=lambda rung: (rung.name, -rung.bytes, rung.rung))


def rungs_of_model(entries: Iterable[Entry], name: str | None, where: str) -> list[MadeRung]:
    """Those of the model called `name`, or of the only one, without its importance matrix; the largest first.
    InputError where there are none, or several models."""
    made = [rung for rung in made_rungs(entries) if rung.rung != IMATRIX]
    found = [rung for rung in made if name is None or rung.name == name]
    names = sorted({rung.name for rung in found})
    if len(names) > 1:
        raise InputError(f"{where} has rungs of {len(names)} models: {', '.join(names)}", fix="Choose one with --name")
    if not found:
        raise InputError(f"{where} has no rungs of {name}" if name else f"{where} has no rungs")
    return found


def select(rungs: Sequence[MadeRung], wanted: str, name: str | None, where: str) -> MadeRung:
    """The rung called `wanted`, in any case, or the one that has a file of that name. `name` chooses among
    several models. InputError that lists what is there, or says that it is not all there."""
    named = [rung for rung in rungs if name is None or rung.name == name]
    found = [rung for rung in named if rung.rung.upper() == wanted.strip().upper()]
    found = found or [rung for rung in named if wanted in {entry["file"] for entry in rung.files}]
    if not found:
        there = ", ".join(sorted({rung.rung for rung in named})) or "nothing"
        of = f" of {name}" if name else ""
        raise InputError(f"{where} has no rung {wanted!r}{of}", fix=f"There are: {there}")
    if len(found) > 1:
        names = ", ".join(rung.name for rung in found)
        raise InputError(f"{where} has {wanted} of {len(found)} models: {names}", fix="Choose one with --name")
    parts = re.search(r"-of-(\d{5})\.gguf$", found[0].first)
    if parts and int(parts[1]) != len(found[0].files):
        raise InputError(
            f"{where}: {len(found[0].files)} of the {int(parts[1])} files of {wanted} are in the manifest",
            fix="Run the job that makes them again",
        )
    return found[0]


def _name(entry: Entry) -> str:
    """Of the model; manifests of format 1 have it in the file's name only."""
    told = entry.get("name")
    if isinstance(told, str):
        return told
    stem = _ENDING.sub("", entry["file"])
    return stem.removesuffix(f".{IMATRIX}") if entry["rung"] == IMATRIX else stem.removesuffix(f"-{entry['rung']}")
