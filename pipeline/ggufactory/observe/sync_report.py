"""How a run over a catalogue goes, and its summary: a row per model."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from rich.console import Console

from ggufactory.job.job_spec import JobSpec
from ggufactory.job.sync import Outcome, State, exit_code
from ggufactory.observe.exports import Exports
from ggufactory.observe.job_meter import JobMeter
from ggufactory.observe.job_watcher import job_watcher
from ggufactory.observe.numbers import counted, show_bytes, show_seconds
from ggufactory.observe.tables import plain_table

_COMMAND = "sync"


class SyncReporter:
    """A watcher of `sync`: on standard error, and in `exports`, where each model is a run."""

    def __init__(self, exports: Exports) -> None:
        self._exports = exports

    def planned(self, models: int, to_make: int) -> None:
        self._line(f"{counted(models, 'model')}, {to_make} of them to make")

    @contextmanager
    def model(self, spec: JobSpec) -> Iterator[JobMeter]:
        self._line(f"model={spec.name or spec.source} target={spec.require_target()}")
        with (
            job_watcher() as shown,
            self._exports.run(_COMMAND, spec.model, shown.warn) as measured,
            JobMeter(shown, measured, self._exports.sinks) as meter,
        ):
            yield meter

    def current(self, spec: JobSpec) -> None:
        with self._exports.run(_COMMAND, spec.model, self._line):
            pass

    def fault(self, trace: str) -> None:
        self._line(trace.rstrip())

    def _line(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def print_outcomes(console: Console, outcomes: Sequence[Outcome]) -> None:
    """The table, then why models failed, then one line for all."""
    table = plain_table("model", "target", "outcome", "files>", "size>", "time>")
    for outcome in outcomes:
        size = show_bytes(outcome.bytes) if outcome.files else ""
        files = str(len(outcome.files)) if outcome.files else ""
        took = show_seconds(outcome.seconds)
        table.add_row(outcome.model, outcome.target, outcome.state.value, files, size, took)
    console.print(table)
    for outcome in outcomes:
        if outcome.message:
            console.print(f"{outcome.model}: {outcome.message}", soft_wrap=True)
    counts = Counter(outcome.state for outcome in outcomes)
    told = ", ".join(f"{counts[state]} {state.value}" for state in State if counts[state])
    nothing = " Nothing to do." if counts[State.CURRENT] == len(outcomes) else ""
    console.print(f"{counted(len(outcomes), 'model')}: {told}.{nothing}")


def outcomes_json(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """One object: every model's outcome, and the exit code."""
    return {"models": [asdict(outcome) for outcome in outcomes], "exit_code": exit_code(outcomes)}
