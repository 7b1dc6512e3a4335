"""What a calibration (or an evaluation) keeps beside its result until that is written, so that one that ended early
can be resumed.

    .ggufactory-calibration/FINGERPRINT/about.json         what is calibrated, with what
    .ggufactory-calibration/FINGERPRINT/FIRST-END.json     how a range of chunks is divided among workers
    .ggufactory-calibration/FINGERPRINT/FIRST-END/         a share of the chunks: see share_state.py

The fingerprint is that of all that decides the result, and of the result's name. State of the same name with another
fingerprint is of another calibration: it is never used, and refused unless the user drops it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from ggufactory.calibrate.distribution import WAYS, Distribution
from ggufactory.calibrate.share_state import ShareState
from ggufactory.errors import InputError
from ggufactory.storage import open_file

_FOLDERS = ".ggufactory-"
STATE_FOLDER = f"{_FOLDERS}calibration"
"""Of calibrations."""
_MAX_RECORD_BYTES = 1 << 20


class Unfinished:
    """`to`: the file that is made; `identity`: what decides its content, by the words that a user knows it by; `what`:
    the work."""

    def __init__(self, to: str, identity: Mapping[str, str], what: str = "calibration") -> None:
        self._what = what
        self._store, self._name = open_file(to)
        self._about = json.dumps({"file": self._name, **identity}, indent=1, sort_keys=True).encode()
        self._folder = f"{_FOLDERS}{what}/{hashlib.sha256(self._about).hexdigest()[:32]}"

    def begin(self, *, restart: bool, replaces: bool = False) -> None:
        """Claim the result's name, which also proves that the store can be written to.

        InputError where an unfinished calibration of that name is of something else, unless `replaces`, which drops
        that, or `restart`, which drops whatever there is of this name.
        """
        for folder, about in self._others():
            if restart or (replaces and folder != self._folder):
                self._remove(folder)
            elif folder != self._folder:
                raise InputError(
                    f"{self._store.uri}/{self._name}: an unfinished {self._what} of this name has another "
                    f"{self._differences(about)}",
                    fix="Give what it was begun with, and it resumes; or drop it with --restart; or write to another "
                    "name",
                )
        self._store.put(f"{self._folder}/about.json", self._about)

    def share(self, first: int, end: int) -> ShareState:
        """Of the chunks from `first` to before `end`."""
        return ShareState(self._store.uri, f"{self._folder}/{first}-{end}")

    def distribution(self, first: int, end: int) -> Distribution | None:
        """As these chunks were divided when their calibration began, if it did."""
        fields = self._read(f"{self._folder}/{first}-{end}.json") or {}
        way, listed = fields.get("way"), fields.get("shares")
        if way not in WAYS or not isinstance(listed, list):
            return None
        shares = tuple((share[0], share[1]) for share in listed if isinstance(share, list) and len(share) == 2)
        borders = [first, *(end_of_share for _, end_of_share in shares)]
        if [begin for begin, _ in shares] != borders[:-1] or borders[-1] != end or borders != sorted(set(borders)):
            return None
        return Distribution("layers" if way == "layers" else "chunks", shares, "as it was begun")

    def keep_distribution(self, first: int, end: int, distribution: Distribution) -> None:
        record = {"way": distribution.way, "shares": distribution.shares}
        self._store.put(f"{self._folder}/{first}-{end}.json", json.dumps(record).encode())

    def end(self) -> None:
        """The result is written: remove the state."""
        self._remove(self._folder)

    def _others(self) -> list[tuple[str, Mapping[str, object]]]:
        """Folders with the state of this name, and what they are about."""
        found = []
        for info in self._store.list(f"{_FOLDERS}{self._what}/"):
            folder, _, name = info.name.rpartition("/")
            if name == "about.json" and (about := self._read(info.name)) and about.get("file") == self._name:
                found.append((folder, about))
        return found

    def _differences(self, about: Mapping[str, object]) -> str:
        ours = json.loads(self._about)
        return " and ".join(key for key in sorted({*ours, *about}) if ours.get(key) != about.get(key))

    def _read(self, name: str) -> Mapping[str, object] | None:
        """A record, or None where there is none that is well formed."""
        found = self._store.read(name, limit=_MAX_RECORD_BYTES)
        try:
            fields = json.loads(found[0]) if found else None
        except (ValueError, RecursionError):
            return None
        return fields if isinstance(fields, dict) else None

    def _remove(self, folder: str) -> None:
        """The name of the calibration last: until then it is known what the rest is."""
        names = [info.name for info in self._store.list(f"{folder}/")]
        for name in sorted(names, key=lambda name: name.endswith("/about.json")):
            self._store.delete(name)
