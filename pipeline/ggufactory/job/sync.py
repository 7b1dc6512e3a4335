"""Making true what a catalogue says: every model whose files are missing or stale, and no other."""

from __future__ import annotations

import time
import traceback
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from ggufactory import interrupts
from ggufactory.assemble.lease import Lease, acquire, clear_stale
from ggufactory.cluster.shared_session import SharedSession
from ggufactory.errors import GgufactoryError, LeaseHeldError, PlanError
from ggufactory.job import ladder_job
from ggufactory.job.job_plan import make_plan
from ggufactory.job.job_spec import JobSpec
from ggufactory.storage import open_store

IF_LOCKED = ("skip", "fail")
"""What to do when another run holds a target's lease: leave its models to that run, or count it as a failure."""

_CODES = (1, 4, 3, 2, 5)
"""Of failed models, the one that the whole run ends with: first what is unexpected, then what trying again helps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model of a catalogue. Those of higher priority are made first."""

    spec: JobSpec
    priority: int = 0


class State(StrEnum):
    MADE = "made"
    CURRENT = "current"
    """There was nothing to do."""
    FAILED = "failed"
    LOCKED = "locked"
    """Another run works on its target."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one model."""

    model: str
    """Its name where it has one of its own, else its source."""
    target: str
    state: State
    seconds: float
    files: tuple[str, ...] = ()
    bytes: int = 0
    exit_code: int = 0
    message: str = ""


class Watcher(Protocol):
    """Who is told how a run over a catalogue goes."""

    def planned(self, models: int, to_make: int) -> None:
        """Once every model has been looked at."""

    def model(self, spec: JobSpec) -> AbstractContextManager[ladder_job.Watcher]:
        """A model is begun; who is told how it goes."""

    def current(self, spec: JobSpec) -> None:
        """There is nothing to do for a model."""

    def fault(self, trace: str) -> None:
        """A fault of our own, for whoever is to find it."""


def sync(
    models: Sequence[Model], watcher: Watcher, *, if_locked: str, ray_address: str | None, workers: int | None
) -> tuple[Outcome, ...]:
    """Make what is missing, in order of priority; the outcomes, in the order of `models`.

    A model that fails does not keep the others from being made. PlanError, before anything is made, when
    two models would write the same file.
    """
    outcomes: dict[int, Outcome] = {}
    planned: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, model in enumerate(models):
        outcome, places = _look(model.spec, watcher)
        if outcome:
            outcomes[number] = outcome
            if outcome.state is State.CURRENT:
                watcher.current(model.spec)
        for place in places:
            planned[place].append(number)
    _check_apart(models, planned)
    waiting = sorted(set(range(len(models))) - outcomes.keys(), key=lambda number: -models[number].priority)
    watcher.planned(len(models), len(waiting))
    with _Leases() as leases, SharedSession(ray_address, workers) as session:
        for number in waiting:
            outcomes[number] = _make(models[number].spec, watcher, session, leases, if_locked)
    return tuple(outcomes[number] for number in range(len(models)))


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0 when every model is there."""
    return next((code for code in _CODES if any(outcome.exit_code == code for outcome in outcomes)), 0)


def _look(spec: JobSpec, watcher: Watcher) -> tuple[Outcome | None, list[tuple[str, str]]]:
    """The outcome when nothing can or need be made; and what the model's files are: (target, name)."""
    began = time.monotonic()
    try:
        target = open_store(spec.require_target())
        plan = make_plan(spec, target)
        places = [(target.uri, name) for name in plan.files]
        found = ladder_job.already_made(spec, target, plan)
        if found:
            clear_stale(target)
    except Exception as error:  # noqa: BLE001 - whatever one checkpoint does, the others are made
        return _failed(spec, error, began, watcher), []
    return (_done(spec, found, began) if found else None), places


def _check_apart(models: Sequence[Model], planned: dict[tuple[str, str], list[int]]) -> None:
    shared: dict[tuple[str, tuple[int, ...]], list[str]] = defaultdict(list)
    for (target, name), numbers in planned.items():
        if len(numbers) > 1:
            shared[target, tuple(numbers)].append(name)
    faults = [
        f"{target}: {', '.join(names[:3])}{' …' if len(names) > 3 else ''} would be written for "
        + " and ".join(_name(models[number].spec) for number in numbers)
        for (target, numbers), names in shared.items()
    ]
    if faults:
        raise PlanError(faults, fix="Give the models different names or targets")


class _Leases:
    """Of the targets that are worked on, each held from its first model to the end of the run."""

    def __init__(self) -> None:
        self._held = ExitStack()
        self._by_target: dict[str, Lease] = {}

    def __enter__(self) -> _Leases:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def of(self, spec: JobSpec) -> Lease:
        """LeaseHeldError when another run has it, LeaseLostError when it has taken ours."""
        target = open_store(spec.require_target())
        lease = self._by_target.get(target.uri)
        if lease is None:
            lease = self._by_target[target.uri] = acquire(target, f"sync of {spec.source}")
            self._held.callback(lease.release)
        lease.check()
        return lease


def _make(spec: JobSpec, watcher: Watcher, session: SharedSession, leases: _Leases, if_locked: str) -> Outcome:
    began = time.monotonic()
    try:
        lease = leases.of(spec)
        with watcher.model(spec) as shown, interrupts.guarded(lease.check):
            return _done(spec, ladder_job.run(spec, shown, session), began)
    except LeaseHeldError as error:
        code = 0 if if_locked == "skip" else error.exit_code
        return Outcome(_name(spec), spec.require_target(), State.LOCKED, _since(began), (), 0, code, str(error))
    except Exception as error:  # noqa: BLE001 - as above
        return _failed(spec, error, began, watcher)


def _done(spec: JobSpec, result: ladder_job.Result, began: float) -> Outcome:
    return Outcome(
        _name(spec),
        spec.require_target(),
        State.MADE if result.made or result.evaluated else State.CURRENT,
        _since(began),
        tuple(result.plan.files),
        sum(file.size for file in result.plan.files.values()),
    )


def _failed(spec: JobSpec, error: Exception, began: float, watcher: Watcher) -> Outcome:
    code, message = 1, f"unexpected {type(error).__name__}: {error}"
    if isinstance(error, GgufactoryError):
        code, message = error.exit_code, str(error)
    else:
        watcher.fault("".join(traceback.format_exception(error)))
    return Outcome(_name(spec), spec.require_target(), State.FAILED, _since(began), (), 0, code, message)


def _name(spec: JobSpec) -> str:
    return spec.name or spec.source


def _since(began: float) -> float:
    return time.monotonic() - began
