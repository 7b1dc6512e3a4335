"""The uploads of one plan: begun once, found again by every later run of the same plan.

The store is the ledger. What is done is what the store lists: finished objects that carry a file's
identity, and parts of unfinished ones. The only other state is one create-only object per plan that
names the upload ids, so that two runs of a plan share its uploads and two plans never do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ggufactory.assemble import error_sums, job_state
from ggufactory.assemble.job_state import JobState
from ggufactory.errors import InputError, UnavailableError, UploadGoneError
from ggufactory.plan.files import FilePlan
from ggufactory.plan.plan import Plan
from ggufactory.plan.progress import Progress
from ggufactory.storage.protocol import ObjectInfo, Part, Store, Upload

IDENTITY = "ggufactory-identity"
"""Metadata key of a finished object: `FilePlan.identity`."""

_ATTEMPTS = 5


def state_name(plan: Plan) -> str:
    return job_state.state_name(plan.fingerprint)


def finished_object(store: Store, file: FilePlan) -> ObjectInfo | None:
    """The object under the file's name, if it is this very file."""
    info = store.stat(file.name)
    if info and info.size == file.size and info.metadata.get(IDENTITY) == file.identity:
        return info
    return None


def begin(store: Store, plan: Plan) -> Progress:
    """Find or begin the upload of every file that is not finished.

    Safe to call from several runs at once: the create-only state object decides whose uploads count,
    and the others drop theirs.
    """
    for _ in range(_ATTEMPTS):
        progress = Progress()
        for name, file in plan.files.items():
            if done := finished_object(store, file):
                progress.finished[name] = done
        if len(progress.finished) == len(plan.files):
            return progress
        store.check_writable()
        if _join(store, plan, progress):
            return progress
    raise UnavailableError(
        f"{store.uri}: other runs of this plan keep replacing {state_name(plan)}",
        fix="Wait for them to end, or start this one again",
    )


def complete(store: Store, file: FilePlan, progress: Progress) -> ObjectInfo:
    """Make a file whose parts are all stored visible. Raises UploadGoneError when it is lost."""
    upload = progress.uploads[file.name]
    parts = [progress.parts[file.name][number] for number in range(1, file.parts + 1)]
    try:
        return store.complete(upload, parts)
    except UploadGoneError:
        # Another run of the plan may have completed it in the meantime.
        if done := finished_object(store, file):
            return done
        raise


def is_begun(store: Store, plan: Plan) -> bool:
    """Whether a run of the plan has a state that it has not done with."""
    found = _own_state(store, plan)
    return found is not None and not found[0].is_over


def end(store: Store, plan: Plan) -> None:
    """Remove the state of a plan whose files are all finished; also that of a run killed before it could."""
    error_sums.forget(store, plan.fingerprint)
    if store.stat(state_name(plan)):
        _forget(store, plan)


def abandon(store: Store, plan: Plan, progress: Progress) -> None:
    """Drop the uploads of a plan that can never finish, so that nothing is left behind."""
    for upload in progress.uploads.values():
        store.abort(upload)
    error_sums.forget(store, plan.fingerprint)
    _forget(store, plan)


def _forget(store: Store, plan: Plan) -> None:
    """Remove the plan's state. Where nothing may be deleted, one that names no upload says the same."""
    if store.delete(state_name(plan)):
        return
    found = _own_state(store, plan)
    if found:
        job_state.write_state(store, JobState(plan.fingerprint), found[1])


def park(store: Store, plan: Plan, failed: Mapping[str, str]) -> None:
    """Note in the plan's state which spans failed and why, for whoever asks the store how the job is."""
    for _ in range(_ATTEMPTS):
        found = _own_state(store, plan)
        if found is None:
            return
        parked = job_state.with_parked(found[0], failed)
        if parked == found[0] or job_state.write_state(store, parked, found[1]):
            return


def _join(store: Store, plan: Plan, progress: Progress) -> bool:
    """Share the plan's recorded uploads, adding those that are missing. False: look again."""
    found = _own_state(store, plan)
    if found is None:
        # Before the first upload, so that one that is never recorded can be told to be ours.
        state = job_state.new_state(plan)
        created = job_state.write_state(store, state, None)
        if created is None:
            return False
        tag = created
    else:
        state, tag = found
        if not state.files:  # of an older release, or of a run that is over
            state = replace(job_state.new_state(plan), uploads=state.uploads)
    added: dict[str, Upload] = {}
    try:
        for name, file in plan.files.items():
            if name in progress.finished or _resume(store, file, state.uploads.get(name), progress):
                continue
            if name in state.uploads and finished_object(store, file):
                raise _LookAgainError
            added[name] = store.create_upload(name, file.size, {IDENTITY: file.identity})
            progress.uploads[name], progress.parts[name] = added[name], {}
        if added:
            _record(store, state, added, tag)
    except BaseException as error:
        for upload in added.values():
            store.abort(upload)
        if isinstance(error, _LookAgainError):
            return False
        if found is None and _own_state(store, plan) == (state, tag):
            store.delete(state_name(plan))
        raise
    # A run that finished between our first look and our state object has removed its own state.
    if any(finished_object(store, plan.files[name]) for name in added):
        abandon(store, plan, progress)
        return False
    return True


class _LookAgainError(Exception):
    """Another run of the plan was faster: what we have seen of the store is old."""


def _resume(store: Store, file: FilePlan, upload_id: str | None, progress: Progress) -> bool:
    """Go on with a recorded upload, unless there is none or it is gone."""
    if upload_id is None:
        return False
    upload = Upload(file.name, upload_id, file.size)
    try:
        stored = store.list_parts(upload)
    except UploadGoneError:
        return False
    progress.uploads[file.name], progress.parts[file.name] = upload, _usable(stored, file)
    return True


def _record(store: Store, state: JobState, added: Mapping[str, Upload], tag: str) -> None:
    """Make our uploads the plan's, unless another run has recorded its own in the meantime."""
    uploads = {**state.uploads, **{name: upload.id for name, upload in added.items()}}
    if job_state.write_state(store, replace(state, uploads=uploads), tag) is None:
        raise _LookAgainError


def _usable(parts: Mapping[int, Part], file: FilePlan) -> dict[int, Part]:
    """The parts whose size is the planned one; any other must be made again."""
    planned = {i + 1: b - a for i, (a, b) in enumerate(zip(file.part_offsets, file.part_offsets[1:], strict=False))}
    return {number: part for number, part in parts.items() if planned.get(number) == part.size}


def _own_state(store: Store, plan: Plan) -> tuple[JobState, str] | None:
    found = job_state.read_state(store, state_name(plan))
    if found and found[0].fingerprint != plan.fingerprint:
        raise InputError(
            f"{store.uri}: {state_name(plan)} is not the state of this plan", fix="Delete it and start again"
        )
    return found
