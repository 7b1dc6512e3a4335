"""A watcher for tests: counts, and keeps the warnings."""

from __future__ import annotations

from dataclasses import dataclass, field

from ggufactory.cluster.descriptor import ChecksumReceipt, SpanReceipt
from ggufactory.cluster.session import Session
from ggufactory.errors import GgufactoryError
from ggufactory.plan.plan import Plan


@dataclass
class SilentWatcher:
    spans_left: int = 0
    receipts: list[SpanReceipt] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    calibration: list[tuple[int, int]] = field(default_factory=list)

    evaluation: list[tuple[int, int]] = field(default_factory=list)

    def planned(self, plan: Plan, spans_left: int) -> None:
        self.spans_left = spans_left

    def calibrated(self, done: int, total: int, what: str) -> None:
        self.calibration.append((done, total))

    def evaluated(self, done: int, total: int) -> None:
        self.evaluation.append((done, total))

    def joined(self, session: Session, gpu_share: float) -> None:
        pass

    def span_done(self, receipt: SpanReceipt) -> None:
        self.receipts.append(receipt)

    def span_failed(self, name: str, error: GgufactoryError) -> None:
        self.failed.append(name)

    def checksummed(self, receipt: ChecksumReceipt) -> None:
        pass

    def stage(self, name: str, total: int) -> None:
        pass

    def file_done(self, name: str) -> None:
        pass

    def tick(self) -> None:
        pass

    def warn(self, message: str) -> None:
        self.warnings.append(message)
