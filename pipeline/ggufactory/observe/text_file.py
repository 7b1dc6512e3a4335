"""Metrics in a file that node exporter reads (its "textfile" collector)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from prometheus_client import write_to_textfile
from prometheus_client.parser import text_string_to_metric_families

from ggufactory.errors import InputError
from ggufactory.metrics import OUTCOME, TARGET, Metric, MetricSink
from ggufactory.observe.prometheus_metrics import PrometheusMetrics

_SUFFIX = ".prom"
_LIMIT = 1 << 20
_KEPT = {metric.name: metric for metric in (*OUTCOME, *TARGET)}


class MetricsTextFile:
    """One file for any number of models and targets; a run replaces its own lines and keeps the others.

    It appears whole or not at all. Two runs that end at the same moment need files of their own.
    InputError on construction when it could not be written, so that this shows before any work.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        if self._path.suffix != _SUFFIX:
            raise InputError(
                f"--metrics-textfile {path}: wanted a name that ends in {_SUFFIX}: node exporter reads no other"
            )
        if not os.access(self._path.parent, os.W_OK | os.X_OK):
            raise InputError(f"--metrics-textfile {path}: {self._path.parent} is no folder that can be written to")
        if self._path.is_dir():
            raise InputError(f"--metrics-textfile {path} is a folder")

    def update(self, record: Callable[[MetricSink], None]) -> None:
        """Write what `record` gives, over what the file holds. OSError when it cannot be written."""
        sink = PrometheusMetrics()
        for metric, value, labels in self._samples():
            sink.record(metric, value, labels)
        record(sink)
        write_to_textfile(str(self._path), sink.registry)

    def _samples(self) -> Iterator[tuple[Metric, float, dict[str, str]]]:
        """Those that the file holds of ours. A file that is damaged, or not ours, is written anew."""
        found = []
        with suppress(OSError, ValueError, KeyError):
            if self._path.stat().st_size <= _LIMIT:
                families = text_string_to_metric_families(self._path.read_text(encoding="utf-8"))
                found = [sample for family in families for sample in family.samples]
        for sample in found:
            metric = _KEPT.get(sample.name)
            if metric and set(sample.labels) == set(metric.labels):
                yield metric, sample.value, dict(sample.labels)
