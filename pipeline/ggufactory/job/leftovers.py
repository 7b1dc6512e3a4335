"""What runs that were never resumed left in a target: uploads, which a bucket bills and does not show, and
the states of their plans, with the errors that they had measured.

Ours are the uploads that a state records, and those of a file that a state or the manifest names: a run
that was killed between beginning an upload and recording it has recorded its state before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ggufactory.assemble import error_sums
from ggufactory.assemble.job_state import JobState, list_states
from ggufactory.assemble.lease import LeaseRecord, read_lease
from ggufactory.errors import UploadGoneError
from ggufactory.publish import manifest
from ggufactory.storage.protocol import ObjectInfo, OpenUpload, Store, Upload


@dataclass(frozen=True, slots=True)
class Leftover:
    """One thing to remove. `last_used` in seconds of Unix time: when it was begun, its newest part stored, or it
    was written."""

    kind: Literal["upload", "state", "errors"]
    name: str
    id: str
    """Of an upload; of a state and of errors, what is known of their plan's fingerprint."""
    last_used: float
    parts: int
    bytes: int
    """Stored, and to be freed."""


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What is to be removed, and what is not because it was used lately; `holder` of a lease that is live."""

    stale: tuple[Leftover, ...]
    recent: tuple[Leftover, ...]
    holder: LeaseRecord | None


def find_leftovers(store: Store, now: float, older_than: float) -> Leftovers:
    """Look for what was not used in the last `older_than` seconds before the Unix time `now`. Only reads."""
    states = list_states(store)
    entries, _ = manifest.read(store)
    names = {name for state in states for name in (*state.files, *state.uploads)} | entries.keys()
    opened = [entry for entry in store.list_uploads() if entry.certainly_ours or entry.upload.name in names]
    uploads = [_upload(store, entry) for entry in opened]
    found = [*uploads, *(_state(state, uploads) for state in states)]
    found += [_errors(store, info, found) for info in error_sums.list_kept(store)]
    lease = read_lease(store)
    return Leftovers(
        stale=tuple(item for item in found if now - item.last_used >= older_than),
        recent=tuple(item for item in found if now - item.last_used < older_than),
        holder=lease[0] if lease and lease[0].is_live(now) else None,
    )


def remove(store: Store, item: Leftover) -> None:
    """Nothing happens when it is gone."""
    if item.kind == "upload":
        store.abort(Upload(item.name, item.id, 0))
    else:
        store.delete(item.name)


def _upload(store: Store, entry: OpenUpload) -> Leftover:
    upload = entry.upload
    try:
        parts = list(store.list_parts(upload).values())
    except UploadGoneError:  # completed just now, or what is left in a folder of one that was
        parts = []
    used = [entry.began, *(part.stored_at for part in parts if part.stored_at is not None)]
    return Leftover("upload", upload.name, upload.id, max(used), len(parts), sum(part.size for part in parts))


def _state(state: JobState, uploads: list[Leftover]) -> Leftover:
    """As young as the youngest of its uploads."""
    own = [upload.last_used for upload in uploads if state.uploads.get(upload.name) == upload.id]
    return Leftover("state", state.object_name, state.fingerprint, max([state.began or 0.0, *own]), 0, 0)


def _errors(store: Store, info: ObjectInfo, found: list[Leftover]) -> Leftover:
    """As young as the state of their plan, where that is there still."""
    plan = error_sums.plan_of(info.name) or ""
    used = [item.last_used for item in found if item.kind == "state" and item.id.startswith(plan)]
    return Leftover("errors", info.name, plan, max([error_sums.saved_at(store, info.name), *used]), 0, info.size)
