"""The lease of a target: one object, written only over the version that was read, that says who works there.

It keeps two runs from doing the same work twice. Files are right without it, because parts are
deterministic: a lease that is taken over too early costs time and nothing else. Expiry is told by the
clocks of two machines, which are assumed to agree within `SKEW_SECONDS`.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ggufactory import interrupts
from ggufactory.assemble.job_state import LEASE
from ggufactory.assemble.lease_owner import Owner, is_gone, this_run
from ggufactory.errors import GgufactoryError, InputError, LeaseHeldError, LeaseLostError, UnavailableError
from ggufactory.storage.protocol import Store

LEASE_SECONDS = 180.0
"""Valid for so long from the last renewal."""
SKEW_SECONDS = 30.0

_RENEWALS = 4
"""In the time that a lease is valid: the store may be away for most of it."""
_LIMIT = 1 << 16
_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """What the object says; times in seconds of Unix time."""

    owner: Owner
    since: float
    expires: float

    def is_live(self, now: float) -> bool:
        """Whether the holder has to be believed to be at work."""
        return now <= self.expires + SKEW_SECONDS and not is_gone(self.owner)


def read_lease(store: Store) -> tuple[LeaseRecord, str] | None:
    """The target's lease, live or not, and its tag. InputError for an object that is none."""
    found = store.read(LEASE, limit=_LIMIT)
    if found is None:
        return None
    try:
        value = json.loads(found[0])
        return _decode(value), found[1].etag
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{store.uri}/{LEASE} is not a lease", fix="Delete it and start again") from error


class Lease:
    """Ours, renewed by a thread until `release`. Made by `acquire`."""

    def __init__(self, store: Store, record: LeaseRecord, tag: str, seconds: float) -> None:
        self._store = store
        self._record = record
        self._tag = tag
        self._seconds = seconds
        self._lost = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """LeaseLostError when another run has taken it over."""
        if self._lost:
            raise LeaseLostError(
                f"{self._store.uri}: another run has taken over the lease, which was not renewed in time",
                fix="What is done is kept. Check the clocks of both machines, and that the store could be reached",
            )

    def release(self) -> None:
        """Let others work. A store that cannot be reached now will see the lease expire."""
        with interrupts.held():
            self._ended.set()
            self._thread.join(self._seconds / _RENEWALS)
            if self._thread.is_alive():  # it waits for a store that does not answer
                return
            try:
                # Nobody takes over a lease that is valid, so what is deleted after a renewal is ours.
                if not self._lost and self._renew():
                    self._store.delete(LEASE)
            except GgufactoryError:
                return

    def _keep(self) -> None:
        while not self._lost and not self._ended.wait(self._seconds / _RENEWALS):
            try:
                self._lost = not self._renew()
            except GgufactoryError:
                continue  # the store may be back at the next renewal; if not, the lease expires

    def _renew(self) -> bool:
        """False when it is another run's now."""
        renewed = replace(self._record, expires=time.time() + self._seconds)
        tag = _write(self._store, renewed, self._tag)
        if tag is None:
            found = read_lease(self._store)
            if found is None or found[0].owner.run != self._record.owner.run:
                return False
            tag = found[1]  # written by us, and the answer lost
        self._record, self._tag = renewed, tag
        return True


def acquire(store: Store, job: str, *, seconds: float = LEASE_SECONDS) -> Lease:
    """The lease of `store`, taken over when its holder has let it expire, or has ended on this very system.

    `job` is for people. LeaseHeldError when another run holds it.
    """
    owner = this_run(job)
    for _ in range(_ATTEMPTS):
        found = read_lease(store)
        now = time.time()
        if found and found[0].is_live(now):
            raise LeaseHeldError(
                f"{store.uri}: {found[0].owner} holds the lease (since {_clock(found[0].since)}, "
                f"renewed until {_clock(found[0].expires)})",
                fix="Wait for that run to end; with --if-locked skip, `quantize` and `sync` pass the target over",
            )
        record = LeaseRecord(owner, now, now + seconds)
        tag = _write(store, record, found[1] if found else None)
        if tag is not None:
            return Lease(store, record, tag, seconds)
    raise UnavailableError(f"{store.uri}: other runs keep taking and releasing the lease", fix="Start again")


def clear_stale(store: Store) -> None:
    """Remove the lease of a holder that is gone, when nobody has work here that would take it over."""
    found = read_lease(store)
    if found and not found[0].is_live(time.time()):
        with suppress(LeaseHeldError):
            acquire(store, "clearing a stale lease").release()


@contextmanager
def leased(store: Store, job: str, *, seconds: float = LEASE_SECONDS) -> Iterator[Lease]:
    """Inside, the run holds the lease of `store`, and ends with LeaseLostError when it is taken away."""
    lease = acquire(store, job, seconds=seconds)
    try:
        with interrupts.guarded(lease.check):
            yield lease
    finally:
        lease.release()


def _write(store: Store, record: LeaseRecord, tag: str | None) -> str | None:
    data = json.dumps(asdict(record), indent=1).encode()
    written = store.put(LEASE, data, create_only=tag is None, if_match=tag)
    return written.etag if written else None


def _decode(value: Any) -> LeaseRecord:
    owner, since, expires = value["owner"], float(value["since"]), float(value["expires"])
    texts = [owner[name] for name in ("run", "job", "host", "process")]
    if not all(isinstance(text, str) for text in texts) or not 0 <= since <= expires < 1e11:
        raise ValueError
    run, job, host, process = texts
    return LeaseRecord(Owner(run, job, host, int(owner["pid"]), process), since, expires)


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
