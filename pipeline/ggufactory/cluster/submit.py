"""Submitting a job's tasks to Ray and collecting them: bounded, retried, and never silently stuck."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain, islice
from typing import Any, Protocol

import ray
from ray.exceptions import RayError, RayTaskError, WorkerCrashedError

from ggufactory import interrupts
from ggufactory.cluster import gpu_failures, stopping
from ggufactory.cluster.session import Session
from ggufactory.errors import (
    DamagedSourceError,
    GgufactoryError,
    GpuFailedError,
    InputError,
    TransientStoreError,
    UnavailableError,
    UploadGoneError,
)

_WINDOW = 5000
"""Tasks known to Ray at once: enough for every real plan, so an autoscaler sees all the demand."""

_RETRIES = 4
_LOST_IN_A_ROW = 3 * (1 + _RETRIES)
"""So many attempts in a row lost to the store, no task in between done: the store is down."""

_ENDING = (InputError, UploadGoneError, GpuFailedError)

FIX_MEMORY = "Ask for smaller spans (--span-size)"

_POLL_SECONDS = 1.0
_WATCHDOG_SECONDS = 30.0
_SCHEDULING_PATIENCE_SECONDS = 900.0

Call = Callable[[], "ray.ObjectRef[Any]"]


def bind(task: Any, *arguments: object) -> Call:
    """The call that submits `task` with these arguments."""
    return lambda: task.remote(*arguments)


class Waiter(Protocol):
    """Who is told while the driver waits."""

    def tick(self) -> None:
        """About every second."""

    def warn(self, message: str) -> None: ...


def options(stage: str, *, memory: int, gpus: float = 0.0, retries: int = _RETRIES) -> dict[str, Any]:
    """How a task of this job runs. The name is the stage: Ray's dashboard groups by it."""
    return {
        "name": stage,
        "num_cpus": 1,
        "num_gpus": gpus,
        "memory": memory,
        "max_retries": retries,
        # MemoryError: of a GPU that other workers fill at the moment.
        "retry_exceptions": [TransientStoreError, ConnectionError, MemoryError],
    }


@interrupts.held()
def run_all(
    session: Session,
    calls: Iterable[tuple[str, Call]],
    memory: int,
    on_result: Callable[[Any], None],
    waiter: Waiter,
    fix: str = FIX_MEMORY,
    on_failure: Callable[[str, GgufactoryError], None] | None = None,
    leftovers: Callable[[str, Any], list[tuple[str, Call]]] = lambda name, result: [],
    gpus: float = 0.0,
) -> dict[str, GgufactoryError]:
    """Submit every named call, hand each result to `on_result` as it comes, return the failed ones.
    `on_failure` hears of each of those at once. `leftovers` tells what a task has left undone, by its name and
    its result (None where it failed), as calls that are made next; a failure that leaves any is none.

    A task that fails for good is noted and the others go on. So is one that met damaged weights twice: what
    it read first may have been damaged on its way.
    Any other InputError, UploadGoneError and GpuFailedError end the run at once: no other task can help.
    UnavailableError when the store is down, or when no node can ever take a task of `memory` bytes and `gpus` of a
    GPU.
    StoppedError on a signal: what has begun may end within the grace, and its results count. What is
    still running after that ends with the session. `fix`: what the user can do about tasks that are too large.
    """
    check_fits(session, memory, fix, gpus)
    pending: dict[ray.ObjectRef[Any], tuple[str, Call]] = {}
    tried_again: set[str] = set()
    source: Iterator[tuple[str, Call]] = iter(calls)
    failed: dict[str, GgufactoryError] = {}
    watchdog = Watchdog(session, memory, waiter, fix, gpus)
    lost_in_a_row = 0
    while True:
        grace = interrupts.grace_left()
        if grace is not None:
            if grace:
                _let_end(pending, on_result, waiter)
            interrupts.check()
        # Not check(): a signal that has come since has its time of grace.
        interrupts.check_guards()
        for name, call in islice(source, _WINDOW - len(pending)):
            pending[call()] = (name, call)
        if not pending:
            return failed
        ready, _ = ray.wait(list(pending), num_returns=min(len(pending), 50), timeout=_POLL_SECONDS)
        waiter.tick()
        watchdog.look(bool(ready))
        for ref in ready:
            name, call = pending.pop(ref)
            try:
                result = ray.get(ref)
            except RayError as error:
                failure, left = _failure_of(ref, error), leftovers(name, None)
                if isinstance(failure, TransientStoreError):
                    lost_in_a_row += len(left) or 1 + _RETRIES
                if lost_in_a_row >= _LOST_IN_A_ROW:
                    raise UnavailableError(failure.message, fix="Start the same command again: it resumes") from error
                if left:
                    source = chain(left, source)
                    continue
                if isinstance(failure, DamagedSourceError) and name not in tried_again:
                    tried_again.add(name)
                    pending[call()] = (name, call)
                    continue
                failed[name] = failure
                if isinstance(failure, _ENDING) and not isinstance(failure, DamagedSourceError):
                    raise failure from error
                if on_failure:
                    on_failure(name, failure)
            else:
                lost_in_a_row = 0
                on_result(result)
                source = chain(leftovers(name, result), source)


def _failure_of(ref: ray.ObjectRef[Any], error: RayError) -> GgufactoryError:
    """Of a process that ended itself, why it did."""
    failed = gpu_failures.failure_of(ref.task_id().hex()) if isinstance(error, WorkerCrashedError) else None
    return failed or as_ours(error)


def _let_end(pending: Iterable[ray.ObjectRef[Any]], on_result: Callable[[Any], None], waiter: Waiter) -> None:
    """A signal has come: wait for the tasks that have begun, until the grace is over; the others do not begin."""
    waiter.warn("stopping: no new span begins, those that have begun may end; another signal stops at once")
    left = list(pending)
    with stopping.asked():
        while left and (seconds := interrupts.grace_left()):
            ready, left = ray.wait(left, timeout=min(seconds, _POLL_SECONDS))
            waiter.tick()
            for ref in ready:
                with suppress(RayError):  # it is made again by the run that resumes this one
                    result = ray.get(ref)
                    if result is not None:
                        on_result(result)


@interrupts.held()
def put_all(values: Mapping[str, object]) -> dict[str, ray.ObjectRef[Any]]:
    """Place values in the object store once, to be shared by every task that names them."""
    return {name: ray.put(value) for name, value in values.items()}


def check_fits(session: Session, memory: int, fix: str, gpus: float = 0.0) -> None:
    """UnavailableError where this machine is all there is, and too small for a task."""
    if session.embedded and not session.fits(1, memory, gpus):
        raise UnavailableError(_too_small(session, memory, gpus), fix=fix)


class Watchdog:
    """Says so when nothing can be scheduled: Ray itself would wait forever, in silence."""

    def __init__(self, session: Session, memory: int, waiter: Waiter, fix: str, gpus: float = 0.0) -> None:
        self._session = session
        self._fix = fix
        self._memory = memory
        self._gpus = gpus
        self._waiter = waiter
        self._last_progress = self._last_warning = time.monotonic()

    def look(self, progressed: bool) -> None:
        now = time.monotonic()
        if progressed:
            self._last_progress = now
        stuck = now - self._last_progress
        if stuck < _WATCHDOG_SECONDS or now - self._last_warning < _WATCHDOG_SECONDS:
            return
        self._last_warning = now
        if self._session.fits(1, self._memory, self._gpus):
            return
        message = _too_small(self._session, self._memory, self._gpus)
        if stuck > _SCHEDULING_PATIENCE_SECONDS:
            raise UnavailableError(f"{message}. Add such nodes", fix=self._fix)
        self._waiter.warn(f"{message}; waiting for the cluster to grow")


def _too_small(session: Session, memory: int, gpus: float) -> str:
    gpu = f", {gpus:g} of a GPU" if gpus else ""
    wanted = f"1 CPU{gpu} and {memory / 1e9:.1f} GB"
    return f"no node can run a task: one wants {wanted}, the cluster has {session.describe_nodes()}"


def as_ours(error: RayError) -> GgufactoryError:
    """The error as the user should read it: ours as it was raised, Ray's own in one line."""
    if isinstance(error, RayTaskError):
        if isinstance(error.cause, GgufactoryError):
            return error.cause
        return GgufactoryError(f"unexpected {type(error.cause).__name__}: {error.cause}")
    lines = str(error).strip().splitlines()
    return GgufactoryError(f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}")
