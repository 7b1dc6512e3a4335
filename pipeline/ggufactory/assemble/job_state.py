"""The state object of a plan: which uploads are its own, and what a reader of the store alone has to know
to tell how far the job is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from ggufactory.errors import InputError
from ggufactory.plan.plan import Plan
from ggufactory.storage.protocol import Store

STATE_FOLDER = ".ggufactory-jobs"
LEASE = f"{STATE_FOLDER}/lease.json"
"""No state of a plan; see lease.py."""

_STATE_NAME = re.compile(rf"{re.escape(STATE_FOLDER)}/[0-9a-f]{{32}}\.json")
_LIMIT = 4 << 20
LATEST = 1e11
"""Of Unix times that are believed: some three thousand years."""
_PARKED_KEPT = 200
_MESSAGE_KEPT = 500


@dataclass(frozen=True, slots=True)
class StateFile:
    """What the plan says of one of its files."""

    rung: str
    size: int
    parts: int
    identity: str


@dataclass(frozen=True, slots=True)
class JobState:
    """Of one plan. States that older releases wrote have no more than `fingerprint` and `uploads`."""

    fingerprint: str
    uploads: Mapping[str, str] = field(default_factory=dict)
    """Upload ids by file name, as far as the uploads were begun."""
    name: str = ""
    source: str = ""
    began: float | None = None
    """When the first run began, in seconds of Unix time."""
    files: Mapping[str, StateFile] = field(default_factory=dict)
    parked: Mapping[str, str] = field(default_factory=dict)
    """Spans that the last run could not make, and why."""

    @property
    def is_over(self) -> bool:
        """Left by a run that had ended and might not delete it."""
        return not self.files and not self.uploads

    @property
    def object_name(self) -> str:
        return state_name(self.fingerprint)


def state_name(fingerprint: str) -> str:
    return f"{STATE_FOLDER}/{fingerprint[:32]}.json"


def new_state(plan: Plan) -> JobState:
    files = {f.name: StateFile(rung.name, f.size, f.parts, f.identity) for rung in plan.rungs for f in rung.files}
    return JobState(plan.fingerprint, {}, plan.name, plan.source, datetime.now(UTC).timestamp(), files)


def with_parked(state: JobState, parked: Mapping[str, str]) -> JobState:
    """`state` with these spans and why they failed, bounded: a damaged shard can concern thousands."""
    kept = {name: why[:_MESSAGE_KEPT] for name, why in list(parked.items())[:_PARKED_KEPT]}
    return replace(state, parked=kept)


def read_state(store: Store, name: str) -> tuple[JobState, str] | None:
    """The state and its tag; None when there is none. InputError for an object that is no state."""
    found = store.read(name, limit=_LIMIT)
    if found is None:
        return None
    try:
        return _decode(json.loads(found[0])), found[1].etag
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{store.uri}: {name} is not the state of a plan", fix="Delete it and start again") from error


def write_state(store: Store, state: JobState, tag: str | None) -> str | None:
    """Replace the version with this tag (None: create). The new tag; None when another run was faster."""
    data = json.dumps(asdict(state), indent=1).encode()
    written = store.put(state.object_name, data, create_only=tag is None, if_match=tag)
    return written.etag if written else None


def list_states(store: Store) -> list[JobState]:
    """Every state in the store, in the order of their names."""
    names = [info.name for info in store.list(f"{STATE_FOLDER}/") if _STATE_NAME.fullmatch(info.name)]
    return [found[0] for name in names if (found := read_state(store, name))]


def _decode(value: Any) -> JobState:
    uploads = dict(value["uploads"])
    parked = dict(value.get("parked", {}))
    files = {name: _file(file) for name, file in value.get("files", {}).items()}
    name, source = value.get("name", ""), value.get("source", "")
    began = value.get("began")
    texts = [value["fingerprint"], name, source, *uploads.values(), *parked.values()]
    if not all(isinstance(text, str) for text in texts) or not (began is None or 0 <= began < LATEST):
        raise ValueError
    return JobState(value["fingerprint"], uploads, name, source, began, files, parked)


def _file(value: Any) -> StateFile:
    file = StateFile(value["rung"], int(value["size"]), int(value["parts"]), value["identity"])
    if file.size < 1 or file.parts < 1 or not isinstance(file.rung, str):
        raise ValueError
    return file
