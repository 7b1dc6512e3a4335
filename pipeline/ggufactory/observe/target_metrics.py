"""What a command found at a target, as metrics."""

from __future__ import annotations

from ggufactory import metrics
from ggufactory.metrics import MetricSink


def record_stale_uploads(sink: MetricSink, target: str, uploads: int) -> None:
    """`uploads`: unfinished uploads of ours under the URI `target` that no run has touched for long."""
    sink.record(metrics.STALE_UPLOADS, uploads, {"target": target})


def record_lease(sink: MetricSink, target: str, acquired: float | None, expiry: float | None) -> None:
    """`acquired`, `expiry`: of the lease on `target`, in seconds since 1970; None when nobody holds it."""
    sink.record(metrics.LEASE_ACQUIRED, acquired or 0, {"target": target})
    sink.record(metrics.LEASE_EXPIRY, expiry or 0, {"target": target})
