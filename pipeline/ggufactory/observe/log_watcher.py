"""Progress where there is no terminal: one line every few seconds, for a job log."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

from ggufactory.cluster.descriptor import ChecksumReceipt, SpanReceipt
from ggufactory.errors import GgufactoryError
from ggufactory.observe.numbers import show_bytes, show_seconds
from ggufactory.observe.tally import Tally
from ggufactory.plan.plan import Plan

if TYPE_CHECKING:
    from ggufactory.cluster.session import Session

_SECONDS_BETWEEN_LINES = 5.0


class LogWatcher:
    """Writes `key=value` lines to standard error."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._last_line = self._last_evaluated = 0.0

    def planned(self, plan: Plan, spans_left: int) -> None:
        self.tally.plan(plan, spans_left)
        for note in plan.notes:
            self._line(f"note={_quoted(note)}")
        rungs = ",".join(r.name for r in plan.rungs)
        size = show_bytes(sum(r.bytes for r in plan.rungs))
        self._line(
            f"planned plan={plan.fingerprint[:12]} rungs={rungs} "
            f'spans={len(plan.spans)} left={spans_left} size="{size}"'
        )

    def calibrated(self, done: int, total: int, what: str) -> None:
        self._line(f'calibrated="{done} of {total} {what}"')

    def evaluated(self, done: int, total: int) -> None:
        # By a clock of its own: ticks tell of spans in between, of which there are no more.
        if done == total or time.monotonic() - self._last_evaluated >= _SECONDS_BETWEEN_LINES:
            self._last_evaluated = time.monotonic()
            self._line(f'evaluated="{done} of {total} layers and comparisons"')

    def joined(self, session: Session, gpu_share: float) -> None:
        nodes = session.nodes()
        cpus = sum(node.get("CPU", 0) for node in nodes)
        dashboard = f" dashboard={session.dashboard}" if session.dashboard else ""
        self._line(f"ray nodes={len(nodes)} cpus={cpus:g}{dashboard}")

    def span_done(self, receipt: SpanReceipt) -> None:
        self.tally.add(receipt)
        if self.tally.done == self.tally.spans_left:
            self._progress()

    def span_failed(self, name: str, error: GgufactoryError) -> None:
        self._line(f"failed task={_quoted(name)} error={_quoted(str(error))}")

    def checksummed(self, receipt: ChecksumReceipt) -> None:
        """Its file is told of as done."""

    def stage(self, name: str, total: int) -> None:
        self._line(f"stage={name} files={total}")

    def file_done(self, name: str) -> None:
        self._line(f"checked file={name}")

    def tick(self) -> None:
        if time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._progress()

    def warn(self, message: str) -> None:
        self._line(f"warning={_quoted(message)}")

    def _progress(self) -> None:
        t = self.tally
        rate = t.bytes_read / t.seconds / 1e9 if t.seconds else 0.0
        eta = show_seconds(t.eta_seconds) if t.eta_seconds is not None else "unknown"
        self._line(
            f'progress spans={t.spans_there}/{t.spans} read="{show_bytes(t.bytes_read)}" '
            f'written="{show_bytes(t.bytes_written)}" read_gb_per_s={rate:.3f} '
            f"elapsed={show_seconds(t.seconds)} eta={eta}"
        )

    def _line(self, text: str) -> None:
        self._last_line = time.monotonic()
        print(time.strftime("%Y-%m-%dT%H:%M:%S%z"), text, file=sys.stderr, flush=True)


def _quoted(text: str) -> str:
    """One value on one line, whatever a message holds."""
    return json.dumps(text, ensure_ascii=False)
