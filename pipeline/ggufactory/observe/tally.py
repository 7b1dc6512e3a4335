"""What a running job has measured so far, and what follows from it. Every number shown comes from here."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from ggufactory.cluster.descriptor import SpanReceipt
from ggufactory.plan.plan import Plan


@dataclass
class Tally:
    """Counts of one run; a resumed run counts only what it did itself."""

    spans: int = 0
    spans_left: int = 0
    done: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    quantizations: int = 0
    peak_rss: int = 0
    cpu_seconds: float = 0.0
    began: float = field(default_factory=time.monotonic)

    def plan(self, plan: Plan, spans_left: int) -> None:
        """Start counting: `spans_left` of the plan's spans are to be made."""
        self.spans, self.spans_left, self.began = len(plan.spans), spans_left, time.monotonic()

    def add(self, receipt: SpanReceipt) -> None:
        """Count a finished span."""
        self.done += 1
        self.bytes_read += receipt.bytes_read
        self.bytes_written += receipt.bytes_written
        self.quantizations += receipt.quantizations
        self.cpu_seconds += receipt.cpu_seconds
        self.peak_rss = max(self.peak_rss, receipt.peak_rss)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    @property
    def spans_there(self) -> int:
        """Finished by this run or by an earlier one."""
        return self.spans - self.spans_left + self.done

    @property
    def eta_seconds(self) -> float | None:
        """By the pace so far; None before the first span."""
        return self.seconds / self.done * (self.spans_left - self.done) if self.done else None
