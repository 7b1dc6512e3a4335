"""How a run ended: what is worth knowing when it is gone."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from ggufactory import metrics
from ggufactory.metrics import MetricSink


@dataclass
class Run:
    """One run of a command on a model, counted while it goes on."""

    command: str
    model: str
    read_bytes: int = 0
    uploaded_bytes: int = 0
    failed_spans: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def labels(self) -> dict[str, str]:
        return {"command": self.command, "model": self.model}


def record_outcome(sink: MetricSink, run: Run, exit_code: int) -> None:
    """`run` has just ended. A failure leaves the time of the last success as it was."""
    values = {
        metrics.LAST_END: time.time(),
        metrics.LAST_DURATION: time.monotonic() - run.began,
        metrics.LAST_EXIT_CODE: exit_code,
        metrics.LAST_READ_BYTES: run.read_bytes,
        metrics.LAST_UPLOADED_BYTES: run.uploaded_bytes,
        metrics.LAST_FAILED_SPANS: run.failed_spans,
    }
    if exit_code == 0:
        values[metrics.LAST_SUCCESS] = time.time()
    for metric, value in values.items():
        sink.record(metric, value, run.labels)
