"""Our metrics as prometheus-client has them, in a registry of their own."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ggufactory.metrics import Metric


class PrometheusMetrics:
    """A sink; `registry` holds what it was given."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._made: dict[str, Counter | Gauge | Histogram] = {}

    def record(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        if metric.name not in self._made:
            self._made[metric.name] = self._make(metric)
        made = self._made[metric.name]
        if isinstance(made, Counter):
            made.labels(**labels).inc(value)
        elif isinstance(made, Gauge):
            made.labels(**labels).set(value)
        else:
            made.labels(**labels).observe(value)

    def _make(self, metric: Metric) -> Counter | Gauge | Histogram:
        match metric.kind:
            case "counter":
                return Counter(metric.name, metric.help, metric.labels, registry=self.registry)
            case "gauge":
                return Gauge(metric.name, metric.help, metric.labels, registry=self.registry)
            case "histogram":
                return Histogram(
                    metric.name, metric.help, metric.labels, registry=self.registry, buckets=metric.buckets
                )
