"""A job's metrics as Prometheus has them: from Ray's own exporter and from `--metrics-port`."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import pytest
import yaml

from ggufactory.evaluate.settings import EvaluationSettings
from ggufactory.job import ladder_job
from ggufactory.job.job_spec import JobSpec
from ggufactory.metrics import LIVE
from ggufactory.observe.exports import Exports, open_exports
from ggufactory.observe.job_meter import JobMeter
from ggufactory.observe.target_metrics import record_lease, record_stale_uploads
from prometheus_server import PrometheusServer, needs_prometheus
from silent_watcher import SilentWatcher

pytestmark = [pytest.mark.cluster, needs_prometheus]

OPS = Path(__file__).parents[2] / "ops"
MODEL = "scraped"
"""Of no other test: they share a Ray, whose counters go on from job to job."""

UNREACHED = {"ggufactory_spans_retried_total", "ggufactory_spans_failed_total"}
"""Ray shows a counter once it counts something, and nothing fails here."""


class Scraped(NamedTuple):
    prometheus: PrometheusServer
    watcher: SilentWatcher
    result: ladder_job.Result


@pytest.fixture(scope="module")
def scraped(local_ray: str, tinylm: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """A job that has run, and a Prometheus that scrapes all that it exports."""
    folder = tmp_path_factory.mktemp("scraped")
    text, watcher = folder / "text", SilentWatcher()
    text.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with _served(text) as node_exporter, open_exports(str(text / "x.prom"), None, port) as exports:
        few = EvaluationSettings(texts=(f"{tinylm}/evaluation.txt",), context=64, chunks=2, ladder=("Q8_0",))
        ladder = ("Q8_0", "Q4_K_M")
        spec = JobSpec(source=tinylm, to=str(folder / "out"), ladder=ladder, name=MODEL, evaluation=few)
        result = _run(exports, watcher, spec)
        with PrometheusServer(folder, _scrape_configs(port, node_exporter)) as prometheus:
            for where in ("ray", "ggufactory"):
                of = f'job="{where}", model="{MODEL}", stage="checksum"'
                prometheus.wait_for(f"ggufactory_stage_seconds_count{{{of}}} == 2")
            prometheus.wait_for("ggufactory_stale_uploads")
            yield Scraped(prometheus, watcher, result)


def _run(exports: Exports, watcher: SilentWatcher, spec: JobSpec) -> ladder_job.Result:
    with exports.run("quantize", spec.model, pytest.fail) as run, JobMeter(watcher, run, exports.sinks) as meter:
        result = ladder_job.run(spec, meter)
    target = spec.require_target()
    exports.publish({"target": target}, lambda sink: record_stale_uploads(sink, target, 1), pytest.fail)
    exports.publish({"target": target}, lambda sink: record_lease(sink, target, 1.0, 2.0), pytest.fail)
    return result


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """A folder over HTTP, in node exporter's place. Gives the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def _scrape_configs(port: int, node_exporter: str) -> list[dict[str, Any]]:
    """The targets of this machine, with the relabelling of the shipped file."""
    import ray

    (node,) = ray.nodes()
    shipped = yaml.safe_load((OPS / "prometheus" / "scrape.yml").read_text(encoding="utf-8"))["scrape_configs"]
    relabelling = {config["job_name"]: config.get("metric_relabel_configs", []) for config in shipped}
    targets = {
        "ray": (f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}", "/metrics"),
        "ggufactory": (f"127.0.0.1:{port}", "/metrics"),
        "node": (node_exporter, "/x.prom"),
    }
    return [
        {
            "job_name": name,
            "metrics_path": path,
            "static_configs": [{"targets": [address]}],
            "metric_relabel_configs": relabelling[name],
        }
        for name, (address, path) in targets.items()
    ]


def _value(prometheus: PrometheusServer, expression: str) -> float:
    (series,) = prometheus.query(expression)
    return float(series["value"][1])


@pytest.mark.parametrize("exporter", ["ray", "ggufactory"])
def test_what_was_measured_is_what_is_scraped(scraped: Scraped, exporter: str) -> None:
    prometheus, watcher, result = scraped
    receipts = watcher.receipts
    of = f'{{job="{exporter}", model="{MODEL}"}}'
    assert len(receipts) == len(result.plan.spans) > 1
    assert _value(prometheus, f"ggufactory_spans_done_total{of}") == len(receipts)
    assert _value(prometheus, f"ggufactory_spans{of}") == len(receipts)
    assert _value(prometheus, f"ggufactory_spans_left{of}") == 0
    assert _value(prometheus, f"ggufactory_source_read_bytes_total{of}") == sum(r.bytes_read for r in receipts)
    for rung in result.plan.rungs:
        of_rung = f'{{job="{exporter}", model="{MODEL}", rung="{rung.name}"}}'
        assert _value(prometheus, f"ggufactory_uploaded_bytes_total{of_rung}") == rung.bytes
        assert _value(prometheus, f"ggufactory_parts_uploaded_total{of_rung}") == len(receipts)
    weights = sum(q.weights for r in receipts for q in r.quantized.values())
    assert _value(prometheus, f"sum(ggufactory_weights_quantized_total{of})") == weights > result.plan.elements
    for stage in ("read", "convert", "quantize", "upload"):
        of_stage = f'{{job="{exporter}", model="{MODEL}", stage="{stage}"}}'
        measured = sum(r.stages[stage] for r in receipts)
        assert measured > 0
        assert _value(prometheus, f"ggufactory_stage_busy_seconds_total{of_stage}") == pytest.approx(measured)
        assert _value(prometheus, f"ggufactory_stage_seconds_count{of_stage}") == len(receipts)


def test_ray_exports_the_table(scraped: Scraped) -> None:
    """Every live metric under its own name with its own labels, and one series by one writer."""
    for metric in LIVE:
        name = metric.name + ("_count" if metric.kind == "histogram" else "")
        series = scraped.prometheus.query(f'{name}{{job="ray", model="{MODEL}"}}')
        assert bool(series) == (metric.name not in UNREACHED), metric.name
        for found in series:
            assert set(metric.labels) <= set(found["metric"])
        assert len({found["metric"]["WorkerId"] for found in series}) <= 1


def test_every_panel_of_the_dashboard_has_something_to_show(scraped: Scraped) -> None:
    dashboard = json.loads((OPS / "grafana" / "ggufactory.json").read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"].replace("$__rate_interval", "1m")
            expression = re.sub(r"\$(job|model)", ".*", expression)
            assert scraped.prometheus.wait_for(expression), panel["title"]


def test_every_rule_can_be_evaluated(scraped: Scraped) -> None:
    rules = yaml.safe_load((OPS / "prometheus" / "rules.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    firing = {
        rule["alert"]
        for rule in rules
        for series in scraped.prometheus.query(rule["expr"])
        if series["metric"].get("model", MODEL) == MODEL  # and not of other jobs that this Ray has seen
    }
    assert firing == {"GgufactoryStaleUploads", "GgufactoryLeaseStuck"}  # as this fixture has recorded them
