"""The table of metrics keeps to Prometheus' conventions, and both exporters to the table."""

from __future__ import annotations

import re
import subprocess

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ggufactory.metrics import METRICS, Metric
from ggufactory.observe.prometheus_metrics import PrometheusMetrics
from prometheus_server import needs_prometheus

FEW_VALUES = {"model", "rung", "stage", "type", "command", "target"}
"""Labels that grow with what is made, not with how it is cut or where it runs."""


def _exposition() -> str:
    sink = PrometheusMetrics()
    for metric in METRICS:
        sink.record(metric, 1, dict.fromkeys(metric.labels, "x"))
    return generate_latest(sink.registry).decode()


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names(metric: Metric) -> None:
    assert re.fullmatch(r"ggufactory(_[a-z]+)+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(metric.buckets)
    assert set(metric.labels) <= FEW_VALUES
    assert metric.help.endswith(".")
    assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|percent)(_|$)", metric.name), "base units"


def test_names_are_told_apart() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_what_prometheus_client_serves() -> None:
    families = {family.name: family for family in text_string_to_metric_families(_exposition())}
    for metric in METRICS:
        family = families[metric.name.removesuffix("_total")]
        assert family.type == metric.kind
        assert family.documentation == metric.help
        assert set(family.samples[0].labels) - {"le"} == set(metric.labels)


@needs_prometheus
def test_promtool_finds_nothing_to_say() -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=_exposition(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
