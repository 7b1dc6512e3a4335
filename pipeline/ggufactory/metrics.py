"""The one table of our metrics: names, kinds, labels, meaning. Every exporter is made from it.

Names follow Prometheus: base units, `_total` for counters. Labels have few values: models, rungs, stages,
tensor types; never a span, a path or a key. Ray's own exporter puts `ray_` before each name, and
`ops/prometheus/scrape.yml` takes it away again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

Kind = Literal["counter", "gauge", "histogram"]

STAGES = ("read", "convert", "to_device", "quantize", "measure", "from_device", "upload", "checksum")
"""What tasks spend their time with: the last is a file's, the others a span's; those of a device on GPUs alone."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One family of time series. `buckets`: upper bounds, of a histogram only."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()


class MetricSink(Protocol):
    """Where measurements go: an exporter, or a test."""

    def record(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """Add `value` to a counter (0 makes it appear), set a gauge to it, or count it in a histogram."""


SOURCE_READ_BYTES = Metric(
    "ggufactory_source_read_bytes_total", "counter", ("model",), "Bytes of the source that finished spans read."
)
WEIGHTS_QUANTIZED = Metric(
    "ggufactory_weights_quantized_total",
    "counter",
    ("model", "type"),
    "Weights quantized to each tensor type; once however many rungs use them.",
)
QUANTIZE_SECONDS = Metric(
    "ggufactory_quantize_seconds_total", "counter", ("model", "type"), "Seconds of quantizing to each tensor type."
)
PARTS_UPLOADED = Metric(
    "ggufactory_parts_uploaded_total", "counter", ("model", "rung"), "Parts of each rung's files that were stored."
)
UPLOADED_BYTES = Metric(
    "ggufactory_uploaded_bytes_total", "counter", ("model", "rung"), "Bytes of each rung's files that were stored."
)
SPANS_DONE = Metric("ggufactory_spans_done_total", "counter", ("model",), "Spans that this run finished.")
SPANS_RETRIED = Metric(
    "ggufactory_spans_retried_total", "counter", ("model",), "Attempts beyond the first of spans that finished."
)
SPANS_FAILED = Metric("ggufactory_spans_failed_total", "counter", ("model",), "Spans that failed for good.")
STAGE_BUSY_SECONDS = Metric(
    "ggufactory_stage_busy_seconds_total",
    "counter",
    ("model", "stage"),
    "Seconds that the threads of tasks spent in each stage; stages of one task overlap.",
)
STAGE_SECONDS = Metric(
    "ggufactory_stage_seconds",
    "histogram",
    ("model", "stage"),
    "Seconds of a stage in one task, over its threads.",
    buckets=(0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000),
)
SPANS = Metric("ggufactory_spans", "gauge", ("model",), "Spans of the whole plan.")
SPANS_LEFT = Metric(
    "ggufactory_spans_left", "gauge", ("model",), "Spans that this run has still to make; 0 once it has ended."
)
SPANS_QUEUED = Metric(
    "ggufactory_spans_queued", "gauge", ("model",), "Spans left that have to wait for a slot of the cluster."
)
TASK_SLOTS = Metric(
    "ggufactory_task_slots",
    "gauge",
    ("model",),
    "Spans that the nodes alive now can run at once, by CPUs, memory and, where tasks ask for them, GPUs.",
)
ETA_SECONDS = Metric("ggufactory_eta_seconds", "gauge", ("model",), "Seconds until the last span, by the pace so far.")
DEVICE_BUSY = Metric(
    "ggufactory_device_busy_ratio",
    "gauge",
    ("model",),
    "CPU time of the spans finished in the last five minutes, as a share of the nodes' CPUs.",
)
MODEL_STEPS = Metric(
    "ggufactory_model_steps",
    "gauge",
    ("model", "stage"),
    "Steps of a calibration (layers, or shares of the text) or an evaluation (layers of each model, comparisons).",
)
MODEL_STEPS_DONE = Metric(
    "ggufactory_model_steps_done", "gauge", ("model", "stage"), "Of those, the steps that are done."
)

LAST_SUCCESS = Metric(
    "ggufactory_job_last_success_timestamp_seconds",
    "gauge",
    ("command", "model"),
    "When a run last ended with everything made; a failure leaves it as it was.",
)
LAST_END = Metric(
    "ggufactory_job_last_end_timestamp_seconds", "gauge", ("command", "model"), "When a run last ended, however."
)
LAST_DURATION = Metric(
    "ggufactory_job_last_duration_seconds", "gauge", ("command", "model"), "How long the last run took."
)
LAST_EXIT_CODE = Metric(
    "ggufactory_job_last_exit_code", "gauge", ("command", "model"), "Exit code of the last run; 0 is success."
)
LAST_READ_BYTES = Metric(
    "ggufactory_job_last_read_bytes", "gauge", ("command", "model"), "Source bytes that the last run read."
)
LAST_UPLOADED_BYTES = Metric(
    "ggufactory_job_last_uploaded_bytes", "gauge", ("command", "model"), "Bytes that the last run stored."
)
LAST_FAILED_SPANS = Metric(
    "ggufactory_job_last_failed_spans", "gauge", ("command", "model"), "Spans that failed for good in the last run."
)

STALE_UPLOADS = Metric(
    "ggufactory_stale_uploads", "gauge", ("target",), "Unfinished uploads of ours that no run has touched for long."
)
LEASE_ACQUIRED = Metric(
    "ggufactory_lease_acquired_timestamp_seconds",
    "gauge",
    ("target",),
    "When the present holder took the target's lease; 0 when nobody holds it.",
)
LEASE_EXPIRY = Metric(
    "ggufactory_lease_expiry_timestamp_seconds",
    "gauge",
    ("target",),
    "When the target's lease ends unless it is renewed; 0 when nobody holds it.",
)

LIVE: tuple[Metric, ...] = (
    SOURCE_READ_BYTES,
    WEIGHTS_QUANTIZED,
    QUANTIZE_SECONDS,
    PARTS_UPLOADED,
    UPLOADED_BYTES,
    SPANS_DONE,
    SPANS_RETRIED,
    SPANS_FAILED,
    STAGE_BUSY_SECONDS,
    STAGE_SECONDS,
    SPANS,
    SPANS_LEFT,
    SPANS_QUEUED,
    TASK_SLOTS,
    ETA_SECONDS,
    DEVICE_BUSY,
    MODEL_STEPS,
    MODEL_STEPS_DONE,
)
"""Of a job while it runs: served by Ray's exporter and on `--metrics-port`."""

OUTCOME: tuple[Metric, ...] = (
    LAST_SUCCESS,
    LAST_END,
    LAST_DURATION,
    LAST_EXIT_CODE,
    LAST_READ_BYTES,
    LAST_UPLOADED_BYTES,
    LAST_FAILED_SPANS,
)
"""What outlives a job: written to the text file and pushed to the gateway when it ends."""

TARGET: tuple[Metric, ...] = (STALE_UPLOADS, LEASE_ACQUIRED, LEASE_EXPIRY)
"""Of a target as a command found it; they go where outcomes go."""

METRICS: tuple[Metric, ...] = (*LIVE, *OUTCOME, *TARGET)
