"""How far the jobs of a target are, by what its store holds and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ggufactory.assemble.job_state import JobState, StateFile, list_states
from ggufactory.assemble.lease import LeaseRecord, read_lease
from ggufactory.assemble.uploads import IDENTITY
from ggufactory.errors import UploadGoneError
from ggufactory.publish import manifest
from ggufactory.storage.protocol import Part, Store, Upload

_WINDOW_SECONDS = 600.0
"""The pace is that of the parts stored in so many seconds before the last; a job without one for longer has none."""


@dataclass(frozen=True, slots=True)
class FileStatus:
    """One file of an unfinished job. `bytes` and `parts` are 0 where the state does not tell them."""

    name: str
    rung: str
    bytes: int
    parts: int
    bytes_done: int
    parts_done: int
    finished: bool
    """Visible under its name; otherwise its parts lie in an upload."""


@dataclass(frozen=True, slots=True)
class JobStatus:
    """One unfinished plan."""

    name: str
    source: str
    fingerprint: str
    began: float | None
    last_part: float | None
    """When the newest part was stored; both in seconds of Unix time."""
    bytes_per_second: float | None
    """Of parts stored lately; None when that cannot be known."""
    files: tuple[FileStatus, ...]
    parked: dict[str, str]
    """Spans that the last run could not make, and why."""

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @property
    def bytes_done(self) -> int:
        return sum(file.bytes_done for file in self.files)

    @property
    def parts(self) -> int:
        return sum(file.parts for file in self.files)

    @property
    def parts_done(self) -> int:
        return sum(file.parts_done for file in self.files)

    @property
    def eta_seconds(self) -> float | None:
        """None: unknown."""
        if not self.bytes_per_second or not self.bytes:
            return None
        return (self.bytes - self.bytes_done) / self.bytes_per_second


@dataclass(frozen=True, slots=True)
class Artifact:
    """One entry of the manifest."""

    file: str
    rung: str
    bytes: int
    plan: str
    made_at: str


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """`lease` is the one that is there, `leased` whether its holder is to be believed to be at work."""

    target: str
    lease: LeaseRecord | None
    leased: bool
    jobs: tuple[JobStatus, ...]
    artifacts: tuple[Artifact, ...]


def read_status(store: Store, now: float) -> TargetStatus:
    """Of everything in `store` at the Unix time `now`. Only reads and lists; what the store raises."""
    lease = read_lease(store)
    jobs = tuple(_job_status(store, state, now) for state in list_states(store) if not state.is_over)
    entries, _ = manifest.read(store)
    return TargetStatus(
        target=store.uri,
        lease=lease[0] if lease else None,
        leased=bool(lease and lease[0].is_live(now)),
        jobs=jobs,
        artifacts=tuple(_artifact(entry) for entry in entries.values()),
    )


def pace(stored: Sequence[tuple[float, int]], now: float) -> float | None:
    """Bytes per second by (when stored, bytes) of parts; None when there are too few, or none lately."""
    if not stored:
        return None
    newest = max(at for at, _ in stored)
    recent = [(at, size) for at, size in stored if at >= newest - _WINDOW_SECONDS]
    oldest = min(at for at, _ in recent)
    if newest == oldest or now - newest > _WINDOW_SECONDS:
        return None
    # What was stored at the first moment was made before it.
    return sum(size for at, size in recent if at > oldest) / (newest - oldest)


def _job_status(store: Store, state: JobState, now: float) -> JobStatus:
    planned = dict(state.files) or {name: StateFile("", 0, 0, "") for name in state.uploads}
    files = []
    stored: list[tuple[float, int]] = []
    for name, file in planned.items():
        parts = _parts(store, state, name)
        done = sum(part.size for part in parts)
        finished = not parts and _is_finished(store, name, file)
        stored += [(part.stored_at, part.size) for part in parts if part.stored_at is not None]
        files.append(
            FileStatus(
                name=name,
                rung=file.rung,
                bytes=file.size,
                parts=file.parts,
                bytes_done=file.size if finished else done,
                parts_done=file.parts if finished else len(parts),
                finished=finished,
            )
        )
    return JobStatus(
        name=state.name,
        source=state.source,
        fingerprint=state.fingerprint,
        began=state.began,
        last_part=max((at for at, _ in stored), default=None),
        bytes_per_second=pace(stored, now),
        files=tuple(files),
        parked=dict(state.parked),
    )


def _parts(store: Store, state: JobState, name: str) -> list[Part]:
    if name not in state.uploads:
        return []
    try:
        return list(store.list_parts(Upload(name, state.uploads[name], 0)).values())
    except UploadGoneError:
        return []


def _is_finished(store: Store, name: str, file: StateFile) -> bool:
    info = store.stat(name)
    return info is not None and bool(file.identity) and info.metadata.get(IDENTITY) == file.identity


def _artifact(entry: manifest.Entry) -> Artifact:
    made = entry.get("made_by")
    return Artifact(
        file=entry["file"],
        rung=str(entry.get("rung", "")),
        bytes=int(entry.get("bytes", 0)),
        plan=str(entry.get("plan", "")),
        made_at=str(made.get("at", "")) if isinstance(made, dict) else "",
    )
