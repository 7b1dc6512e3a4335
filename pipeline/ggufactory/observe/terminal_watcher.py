"""Progress on a terminal: one live line of spans, throughput and time left."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from ggufactory.cluster.descriptor import ChecksumReceipt, SpanReceipt
from ggufactory.errors import GgufactoryError
from ggufactory.observe.console import stderr_console, tell
from ggufactory.observe.numbers import counted, show_bytes, show_seconds
from ggufactory.observe.tally import Tally
from ggufactory.plan.plan import Plan

if TYPE_CHECKING:
    from ggufactory.cluster.session import Session


class TerminalWatcher:
    """Draws on standard error, so that standard output stays a table. Use as a context manager."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._console = stderr_console()
        self._progress = Progress(
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}", markup=False),
            console=self._console,
        )
        self._task = self._progress.add_task("headers", total=None, told="")
        self._evaluation: TaskID | None = None

    def __enter__(self) -> TerminalWatcher:
        self._progress.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def planned(self, plan: Plan, spans_left: int) -> None:
        self.tally.plan(plan, spans_left)
        for note in plan.notes:
            tell(self._console, "note", "yellow", note)
        rungs = ", ".join(r.name for r in plan.rungs)
        size = show_bytes(sum(r.bytes for r in plan.rungs))
        self._console.print(f"{rungs}: {size} in {counted(len(plan.spans), 'span')}, {spans_left} of them to make")
        self._progress.update(self._task, description="spans", total=len(plan.spans), completed=self.tally.spans_there)
        self.tick()

    def calibrated(self, done: int, total: int, what: str) -> None:
        self._progress.update(self._task, description="calibrate", total=total, completed=done, told=what)

    def evaluated(self, done: int, total: int) -> None:
        if self._evaluation is None:
            self._evaluation = self._progress.add_task("evaluate", total=total, told="")
        self._progress.update(self._evaluation, total=total, completed=done, told="layers and comparisons")

    def joined(self, session: Session, gpu_share: float) -> None:
        if session.dashboard:
            self._console.print(f"Ray's dashboard: {session.dashboard}")

    def span_done(self, receipt: SpanReceipt) -> None:
        self.tally.add(receipt)
        self._progress.update(self._task, completed=self.tally.spans_there)
        self.tick()

    def span_failed(self, name: str, error: GgufactoryError) -> None:
        tell(self._console, "failed", "red", f"{name}: {error}")

    def checksummed(self, receipt: ChecksumReceipt) -> None:
        """Its file is told of as done."""

    def stage(self, name: str, total: int) -> None:
        self._task = self._progress.add_task(name, total=total, told="")

    def file_done(self, name: str) -> None:
        self._progress.update(self._task, advance=1, told=name)

    def tick(self) -> None:
        t = self.tally
        if self._task or not t.done:
            return
        left = f", {show_seconds(t.eta_seconds)} left" if t.eta_seconds is not None else ""
        read, written = show_bytes(t.bytes_read / t.seconds), show_bytes(t.bytes_written)
        self._progress.update(self._task, told=f"{read}/s read, {written} written{left}")

    def warn(self, message: str) -> None:
        tell(self._console, "warning", "yellow", message)
