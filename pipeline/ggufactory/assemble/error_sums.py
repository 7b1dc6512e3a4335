"""The errors of a plan's tensors, added up as spans report them, and kept beside the plan's state.

A run that resumes another goes on with its sums. What spans lose that were stored and not told of stays unknown: they
are not read again for it (decision 0020).
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any

from ggufactory.assemble.exact_sum import ExactSum
from ggufactory.assemble.job_state import LATEST, STATE_FOLDER
from ggufactory.errors import GgufactoryError, InputError
from ggufactory.plan.files import FilePlan
from ggufactory.plan.plan import Plan, RungPlan
from ggufactory.plan.tensor_errors import PieceErrors, relative_error
from ggufactory.storage.protocol import ObjectInfo, Store

_NAME = re.compile(rf"{re.escape(STATE_FOLDER)}/([0-9a-f]{{32}})-errors\.json")
_FORMAT = 1
_LIMIT = 256 << 20
_SECONDS_BETWEEN = 0.1
_SHARE = 0.05
"""Of the driver's time, at most, that goes into writing."""

_Key = tuple[str, str, bool]


def sums_name(fingerprint: str) -> str:
    return f"{STATE_FOLDER}/{fingerprint[:32]}-errors.json"


def plan_of(name: str) -> str | None:
    """The beginning of the fingerprint of the plan whose sums an object of this name holds; None: it is no such."""
    found = _NAME.fullmatch(name)
    return found[1] if found else None


def list_kept(store: Store) -> list[ObjectInfo]:
    """The sums of whatever plans, by name."""
    return [info for info in store.list(f"{STATE_FOLDER}/") if plan_of(info.name)]


def saved_at(store: Store, name: str) -> float:
    """When sums were written, in seconds of Unix time; 0 where that cannot be read."""
    found = store.read(name, limit=_LIMIT)
    try:
        saved = float(json.loads(found[0])["saved"]) if found else 0.0
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return 0.0
    return saved if 0 <= saved < LATEST else 0.0


def forget(store: Store, fingerprint: str) -> None:
    """Remove a plan's sums. Where nothing may be deleted they stay, and stay true."""
    if store.stat(sums_name(fingerprint)):
        store.delete(sums_name(fingerprint))


class ErrorSums:
    """Of one plan. `files`: those whose tensors are measured in every span that is counted in `spans`."""

    def __init__(self, store: Store, plan: Plan, files: Collection[str]) -> None:
        self._store = store
        self._plan = plan
        self._files = sorted(files)
        self._sums: dict[_Key, tuple[int, ExactSum, ExactSum]] = {}
        self._written = 0
        self._due = 0.0
        self.spans: set[int] = set()

    @classmethod
    def resume(cls, store: Store, plan: Plan, files: Collection[str]) -> ErrorSums:
        """With what earlier runs of the plan have measured of `files`, those that are unfinished. InputError where
        that is damaged."""
        sums = cls(store, plan, files)
        found = store.read(sums_name(plan.fingerprint), limit=_LIMIT)
        if found is None:
            return sums
        try:
            sums._take(json.loads(found[0]))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise InputError(
                f"{store.uri}: {sums_name(plan.fingerprint)} does not hold the errors that this plan measured",
                fix="Delete it and start again: of what is stored already, no errors are then told",
            ) from error
        return sums

    def add(self, span: int, errors: Iterable[PieceErrors]) -> None:
        """What a span reports; once, however often it is told. Now and then all of it is written."""
        if span in self.spans:
            return
        self.spans.add(span)
        for piece in errors:
            key = (piece.tensor, piece.type, piece.weighted)
            rows, error, magnitude = self._sums.setdefault(key, (0, ExactSum(), ExactSum()))
            error.add(piece.error)
            magnitude.add(piece.magnitude)
            self._sums[key] = (rows + piece.rows, error, magnitude)
        if time.monotonic() >= self._due:
            with suppress(GgufactoryError):  # they are written again
                self.write()

    def write(self) -> None:
        """To the target, unless it has them. Another run of the plan may write over it."""
        if self._written == len(self.spans):
            return
        began = time.monotonic()
        try:
            data = json.dumps(self._as_json(), separators=(",", ":"), allow_nan=False).encode()
            self._store.put(sums_name(self._plan.fingerprint), data)
            self._written = len(self.spans)
        finally:
            now = time.monotonic()
            self._due = now + max(_SECONDS_BETWEEN, (now - began) / _SHARE)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """What was added inside is in the target afterwards; where the block fails, as far as can be."""
        try:
            yield
        except BaseException:
            with suppress(GgufactoryError):
                self.write()
            raise
        self.write()

    def of_file(self, rung: RungPlan, file: FilePlan) -> dict[str, float]:
        """The relative error of each tensor of the file, over the rows that were measured."""
        found = {}
        for tensor in self._plan.tensors[slice(*file.tensors)]:
            key = (tensor.name, rung.decisions[tensor.name].type, rung.weighs(tensor.name))
            rows, error, magnitude = self._sums.get(key, (0, ExactSum(), ExactSum()))
            if rows and (value := relative_error(error.value, magnitude.value)) is not None:
                found[tensor.name] = value
        return found

    def of_files(self, listed: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, float]]:
        """By file name: what was measured, or what `listed`, the manifest's entries, tells of the same bytes."""
        found: dict[str, Mapping[str, float]] = {}
        for rung in self._plan.rungs:
            for file in rung.files:
                entry = listed.get(file.name, {})
                known = entry.get("errors", {}) if entry.get("identity") == file.identity else {}
                found[file.name] = self.of_file(rung, file) or known
        return found

    @property
    def _matrix(self) -> str | None:
        """What the errors are weighted by. A rung that uses no importance has the same fingerprint with any."""
        return self._plan.importance.sha256 if self._plan.importance else None

    def _as_json(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "plan": self._plan.fingerprint,
            "matrix": self._matrix,
            "files": self._files,
            "saved": time.time(),
            "spans": list(_runs(sorted(self.spans))),
            "sums": [
                [*key, rows, error.terms, magnitude.terms] for key, (rows, error, magnitude) in self._sums.items()
            ],
        }

    def _take(self, value: Any) -> None:
        """Nothing, where other errors are wanted than those that were measured."""
        if (value["format"], value["plan"]) != (_FORMAT, self._plan.fingerprint):
            raise ValueError
        if value["matrix"] != self._matrix or not set(self._files) <= set(value["files"]):
            return
        self._files = [name for name in value["files"] if name in self._plan.files]
        rows_of = {tensor.name: tensor.rows for tensor in self._plan.tensors}
        for first, stop in value["spans"]:
            if not 0 <= first < stop <= len(self._plan.spans):
                raise ValueError
            self.spans.update(range(first, stop))
        for tensor, kind, weighted, rows, error, magnitude in value["sums"]:
            if not 0 < rows <= rows_of[tensor] or not isinstance(kind, str) or not isinstance(weighted, bool):
                raise ValueError
            self._sums[tensor, kind, weighted] = (int(rows), _sum(error), _sum(magnitude))
        self._written = len(self.spans)


def _sum(terms: list[float]) -> ExactSum:
    found = ExactSum([float(term) for term in terms])
    if not math.isfinite(found.value) or found.value < 0:
        raise ValueError
    return found


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Sorted numbers as half-open runs."""
    if not numbers:
        return
    borders = [i for i, (a, b) in enumerate(pairwise(numbers), 1) if b != a + 1]
    for first, stop in pairwise([0, *borders, len(numbers)]):
        yield numbers[first], numbers[stop - 1] + 1
