"""What a job measures as metrics, while whoever shows the job goes on showing it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ggufactory import metrics
from ggufactory.cluster.batches import slots_now
from ggufactory.cluster.descriptor import ChecksumReceipt, SpanReceipt
from ggufactory.errors import GgufactoryError
from ggufactory.job.ladder_job import Watcher
from ggufactory.metrics import Metric, MetricSink
from ggufactory.observe.busy_share import BusyShare
from ggufactory.observe.outcome import Run
from ggufactory.observe.tally import Tally
from ggufactory.plan.device_memory import task_bytes
from ggufactory.plan.plan import Plan

if TYPE_CHECKING:
    from ggufactory.cluster.session import Session

_SECONDS_BETWEEN_GAUGES = 1.0
_SECONDS_BETWEEN_LOOKS = 10.0
"""At the cluster's nodes."""


class JobMeter:
    """A job's watcher in front of another. Records in `sinks`, in `run`, and in Ray's exporter once there is a Ray.

    Use as a context manager: at the end, what counts down is 0.
    """

    def __init__(self, shown: Watcher, run: Run, sinks: Sequence[MetricSink]) -> None:
        self._shown = shown
        self._run = run
        self._sinks = tuple(sinks)
        self._ray: tuple[MetricSink, ...] = ()
        self._tally = Tally()
        self._busy = BusyShare()
        self._rung_of: dict[str, str] = {}
        self._failed = 0
        self._worker_bytes, self._gpu_share = 1, 0.0
        self._session: Session | None = None
        self._slots, self._cpus = 0, 0.0
        self._last_look = self._last_gauges = float("-inf")

    def __enter__(self) -> JobMeter:
        return self

    def __exit__(self, *_: object) -> None:
        for metric in (metrics.SPANS_LEFT, metrics.SPANS_QUEUED, metrics.ETA_SECONDS, metrics.DEVICE_BUSY):
            self._record(metric, 0)

    def planned(self, plan: Plan, spans_left: int) -> None:
        self._tally, self._busy, self._failed = Tally(), BusyShare(), 0
        self._tally.plan(plan, spans_left)
        self._worker_bytes = plan.worker_bytes
        self._rung_of = {file.name: rung.name for rung in plan.rungs for file in rung.files}
        self._begin_counters()
        self._gauges()
        self._shown.planned(plan, spans_left)

    def calibrated(self, done: int, total: int, what: str) -> None:
        self._steps("calibrate", done, total)
        self._shown.calibrated(done, total, what)

    def evaluated(self, done: int, total: int) -> None:
        self._steps("evaluate", done, total)
        self._shown.evaluated(done, total)

    def joined(self, session: Session, gpu_share: float) -> None:
        # Here and not above: Ray takes seconds to import, and this is called when it is there.
        from ggufactory.cluster.ray_metrics import RayMetrics

        self._session, self._gpu_share = session, gpu_share
        self._ray = (RayMetrics(),)
        self._look()
        self._gauges()
        self._shown.joined(session, gpu_share)

    def span_done(self, receipt: SpanReceipt) -> None:
        self._tally.add(receipt)
        self._busy.add(receipt.seconds, receipt.cpu_seconds)
        self._run.read_bytes += receipt.bytes_read
        self._run.uploaded_bytes += receipt.bytes_written
        self._record(metrics.SPANS_DONE, 1)
        self._record(metrics.SPANS_RETRIED, receipt.retries)
        self._record(metrics.SOURCE_READ_BYTES, receipt.bytes_read)
        for name, part in receipt.parts:
            self._record(metrics.PARTS_UPLOADED, 1, rung=self._rung_of[name])
            self._record(metrics.UPLOADED_BYTES, part.size, rung=self._rung_of[name])
        for kind, done in receipt.quantized.items():
            self._record(metrics.WEIGHTS_QUANTIZED, done.weights, type=kind)
            self._record(metrics.QUANTIZE_SECONDS, done.seconds, type=kind)
        for stage, seconds in receipt.stages.items():
            self._stage_took(stage, seconds)
        self._gauges()
        self._shown.span_done(receipt)

    def span_failed(self, name: str, error: GgufactoryError) -> None:
        self._failed += 1
        self._run.failed_spans += 1
        self._record(metrics.SPANS_FAILED, 1)
        self._gauges()
        self._shown.span_failed(name, error)

    def checksummed(self, receipt: ChecksumReceipt) -> None:
        self._stage_took("checksum", receipt.seconds)
        self._shown.checksummed(receipt)

    def stage(self, name: str, total: int) -> None:
        self._shown.stage(name, total)

    def file_done(self, name: str) -> None:
        self._shown.file_done(name)

    def tick(self) -> None:
        now = time.monotonic()
        if now - self._last_look >= _SECONDS_BETWEEN_LOOKS:
            self._look()
        if now - self._last_gauges >= _SECONDS_BETWEEN_GAUGES:
            self._gauges()
        self._shown.tick()

    def warn(self, message: str) -> None:
        self._shown.warn(message)

    def _begin_counters(self) -> None:
        """At 0, so that a rate sees the first step."""
        for metric in (
            metrics.SOURCE_READ_BYTES,
            metrics.SPANS_DONE,
            metrics.SPANS_RETRIED,
            metrics.SPANS_FAILED,
        ):
            self._record(metric, 0)
        for rung in self._rung_of.values():
            self._record(metrics.PARTS_UPLOADED, 0, rung=rung)
            self._record(metrics.UPLOADED_BYTES, 0, rung=rung)
        for stage in metrics.STAGES:
            self._record(metrics.STAGE_BUSY_SECONDS, 0, stage=stage)

    def _gauges(self) -> None:
        self._last_gauges = time.monotonic()
        left = self._tally.spans_left - self._tally.done - self._failed
        self._record(metrics.SPANS, self._tally.spans)
        self._record(metrics.SPANS_LEFT, left)
        if self._tally.eta_seconds is not None:
            self._record(metrics.ETA_SECONDS, self._tally.eta_seconds)
        if self._session:
            self._record(metrics.SPANS_QUEUED, max(left - self._slots, 0))
            self._record(metrics.TASK_SLOTS, self._slots)
            self._record(metrics.DEVICE_BUSY, self._busy.share(self._cpus))

    def _look(self) -> None:
        self._last_look = time.monotonic()
        if self._session:
            nodes = self._session.nodes()
            self._cpus = sum(node.get("CPU", 0) for node in nodes)
            self._slots = slots_now(nodes, task_bytes(self._worker_bytes, self._gpu_share), self._gpu_share)

    def _steps(self, stage: str, done: int, total: int) -> None:
        self._record(metrics.MODEL_STEPS, total, stage=stage)
        self._record(metrics.MODEL_STEPS_DONE, done, stage=stage)

    def _stage_took(self, stage: str, seconds: float) -> None:
        self._record(metrics.STAGE_SECONDS, seconds, stage=stage)
        self._record(metrics.STAGE_BUSY_SECONDS, seconds, stage=stage)

    def _record(self, metric: Metric, value: float, **labels: str) -> None:
        for sink in (*self._sinks, *self._ray):
            sink.record(metric, value, {"model": self._run.model, **labels})
