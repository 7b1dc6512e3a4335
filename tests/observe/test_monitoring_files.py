"""The dashboard, the rules and the table of metrics agree; every alert has its page."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ggufactory.metrics import LIVE, METRICS
from prometheus_server import needs_prometheus

OPS = Path(__file__).parents[2] / "ops"
DASHBOARD = json.loads((OPS / "grafana" / "ggufactory.json").read_text(encoding="utf-8"))
RULES = yaml.safe_load((OPS / "prometheus" / "rules.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]

OF_SCRAPING = {"job", "instance", "le"}
"""Labels that Prometheus adds."""

SERIES = {
    **{metric.name: set(metric.labels) for metric in METRICS},
    **{
        metric.name + suffix: set(metric.labels)
        for metric in METRICS
        for suffix in ("_bucket", "_count", "_sum")
        if metric.kind == "histogram"
    },
}
"""The labels of every time series, by name."""


def _panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def _expressions() -> Iterator[tuple[str, str]]:
    for panel in _panels():
        for target in panel["targets"]:
            yield f"panel {panel['title']}", target["expr"]
    for rule in RULES:
        yield f"alert {rule['alert']}", rule["expr"]


@pytest.mark.parametrize(("where", "expression"), list(_expressions()))
def test_every_metric_is_in_the_table_with_its_labels(where: str, expression: str) -> None:
    names = re.findall(r"\b(?:ray_)?(ggufactory_\w+)", expression)
    assert names, f"{where}: no metric of ours"
    assert set(names) <= SERIES.keys()
    for name, selector in re.findall(r"\b(?:ray_)?(ggufactory_\w+)\{([^}]*)\}", expression):
        used = set(re.findall(r"(\w+)\s*[=!]", selector))
        assert used <= SERIES[name] | OF_SCRAPING, f"{where}: {name} has no such label"
    for listed in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expression):
        used = {label.strip() for label in listed.split(",")}
        assert all(used <= SERIES[name] | OF_SCRAPING for name in names), f"{where}: by ({listed})"


def test_variables_of_the_dashboard() -> None:
    """Every query goes to the data source that the reader chose, and every variable that is used is there."""
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    for name in ("job", "model"):
        assert set(re.findall(r"ggufactory_\w+", variables[name]["query"]["query"])) <= SERIES.keys()
    for panel in _panels():
        for owner in (panel, *panel["targets"]):
            assert owner["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    used = set(re.findall(r"\$(\w+)", " ".join(e for where, e in _expressions() if where.startswith("panel"))))
    assert used <= variables.keys() | {"__rate_interval"}


def test_the_layout_of_the_dashboard() -> None:
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    covered: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] in range(24 - at["w"] + 1), panel["title"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & covered, f"{panel['title']} lies over another panel"
        covered |= cells
    assert [p["title"] for p in DASHBOARD["panels"] if p["type"] == "row"] == [
        "Progress",
        "Throughput",
        "Failures",
        "Stages",
        "Outcome",
    ]


def test_every_metric_is_shown_or_watched() -> None:
    shown = " ".join(expression for _, expression in _expressions())
    assert [metric.name for metric in METRICS if metric.name not in shown] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_has_a_page(rule: dict[str, Any]) -> None:
    page = OPS.parent / rule["annotations"]["runbook_url"]
    assert rule["alert"] in page.read_text(encoding="utf-8")
    assert page.name in (OPS / "runbook" / "README.md").read_text(encoding="utf-8")


def test_every_metric_is_in_the_docs() -> None:
    page = (OPS.parent / "docs" / "monitoring.md").read_text(encoding="utf-8")
    for metric in METRICS:
        labels = [label for label in metric.labels if label != "model" or metric not in LIVE]
        assert f"| `{metric.name}` | {', '.join(labels)} | {metric.help} |\n" in page
    for rule in RULES:
        assert rule["alert"] in page


@needs_prometheus
def test_rules_by_promtool() -> None:
    """Syntax, and each alert firing and not firing."""
    done = subprocess.run(
        ["promtool", "test", "rules", "ops/prometheus/rules_test.yml"],
        cwd=OPS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tested = {
        case["alertname"]
        for test in yaml.safe_load((OPS / "prometheus" / "rules_test.yml").read_text(encoding="utf-8"))["tests"]
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert tested == {rule["alert"] for rule in RULES}


@needs_prometheus
@pytest.mark.parametrize("check", [["rules", "rules.yml"], ["config", "--syntax-only", "scrape.yml"]])
def test_files_by_promtool(check: list[str]) -> None:
    done = subprocess.run(
        ["promtool", "check", *check], cwd=OPS / "prometheus", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
