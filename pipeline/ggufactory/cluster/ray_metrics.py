"""Our metrics in Ray's own exporter, beside Ray's: on every node's metrics port, and in its dashboard's Grafana.

The driver alone records, as it hears of finished tasks: counters then grow steadily, and there is one series
of each, whichever workers come and go. Ray sends them on about every ten seconds.
"""

from __future__ import annotations

from collections.abc import Mapping

import ray
from ray.util.metrics import Counter, Gauge, Histogram

from ggufactory.metrics import Metric


class RayMetrics:
    """A sink for one Ray session; each session needs a new one. When it has ended, nothing is recorded."""

    def __init__(self) -> None:
        self._made: dict[str, Counter | Gauge | Histogram] = {}

    def record(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        if not ray.is_initialized():
            return
        if metric.name not in self._made:
            self._made[metric.name] = _make(metric)
        made = self._made[metric.name]
        if isinstance(made, Gauge):
            made.set(value, dict(labels))
        elif isinstance(made, Histogram):
            made.observe(value, dict(labels))
        elif value:  # Ray refuses to add nothing, and shows no counter before it counts something
            made.inc(value, dict(labels))


def _make(metric: Metric) -> Counter | Gauge | Histogram:
    match metric.kind:
        case "counter":
            return Counter(metric.name, metric.help, metric.labels)
        case "gauge":
            return Gauge(metric.name, metric.help, metric.labels)
        case "histogram":
            return Histogram(metric.name, metric.help, list(metric.buckets), metric.labels)
