"""`report.html`: everything that was measured, on one page that needs nothing else and believes nobody."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ggufactory.publish import manifest
from ggufactory.publish.measured import models_of
from ggufactory.publish.report import render_report
from ggufactory.publish.report_svg import inline_svg
from ggufactory.storage import open_store
from made_targets import MadeTarget, made_target
from measured_targets import HYPERPARAMETERS, add_figures, made_errors, recorded_quality

EVIL = "<img src=x onerror=alert(1)>\"'&<script>alert(2)</script></style><!-- -->"
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Elements with their attributes and texts; and whether each was closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> MadeTarget:
    made = made_target(tmp_path_factory.mktemp("report"), {"Q8_0": 5000, "Q4_K_M": 3000, "Q2_K": 2000})
    errors = {**made_errors(0.01, 2), "blk.1.attn_q.weight": 0.75}
    fields = {
        rung: {"quality": recorded_quality(rung), "errors": errors, "hyperparameters": HYPERPARAMETERS}
        for rung in ("Q8_0", "Q4_K_M")
    }
    add_figures(made.uri, fields)
    return made


def page_of(target: MadeTarget) -> Page:
    return Page((target.folder / "report.html").read_text())


def test_it_is_whole_and_needs_no_network(target: MadeTarget) -> None:
    page = page_of(target)
    assert page.open == []
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            if name in ("src", "href", "xlink:href", "data", "action"):
                assert value is not None
                assert value.startswith(("#", "./", "data:image/png;base64,")) or value == "manifest.json", (tag, value)
    text = (target.folder / "report.html").read_text()
    assert not re.search(r"@import|url\((?!#)", text)
    (policy,) = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert "default-src 'none'" in policy
    assert len(page.all("script")) == 1
    assert len(page.all("svg")) == 2


def test_its_script_is_the_one_that_may_run(target: MadeTarget) -> None:
    text = (target.folder / "report.html").read_text()
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text


def test_every_rung_with_every_figure(target: MadeTarget) -> None:
    text = (target.folder / "report.html").read_text()
    body = text.split("<tbody>")[1].split("</tbody>")[0]
    rows = [re.findall(r'data-value="([^"]*)"', row) for row in body.strip().splitlines()]
    assert [row[0] for row in rows] == ["Q8_0", "Q4_K_M", "Q2_K"], "the largest first"
    recorded = recorded_quality("Q4_K_M")
    names = ("kld_mean", "kld_error", "kld_median", "kld_99", "kld_99_9", "kld_max", "same_top")
    names += ("rms_probability_change", "perplexity", "perplexity_error")
    assert [float(value) for value in rows[1][3:]] == [recorded[name] for name in names]
    assert rows[2][3:] == [""] * len(names), "not evaluated"
    headings = text.split("<thead>")[1].split("</thead>")[0]
    assert headings.count("<button") == headings.count('scope="col"') == len(rows[0])


def test_the_worst_tensors_the_guide_and_how_it_was_measured(target: MadeTarget) -> None:
    page = page_of(target)
    worst = page.texts.index("blk.1.attn_q.weight")
    told = [text for text in page.texts[worst:] if text]
    assert told[:3] == ["blk.1.attn_q.weight", "Q4_K", "75.0000%"]
    assert "Which one to take" in page.texts
    assert "4 GB" in page.texts
    assert any("100 chunks of 128 tokens" in text for text in page.texts)


def test_strangers_names_mean_nothing(tmp_path: Path) -> None:
    made_target(tmp_path, {"Q8_0": 10})
    store = open_store(str(tmp_path))
    (entry,) = manifest.read(store)[0].values()
    quality = {**recorded_quality("Q8_0"), "texts": [{"name": EVIL}], "chunks": EVIL, "context": EVIL}
    evil = {
        **entry,
        "name": EVIL,
        "rung": EVIL,
        "file": EVIL.replace("/", "").replace("\n", ""),
        "quality": quality,
        "errors": {EVIL: 0.5, f"blk.0.{EVIL}": 0.1},
        "recipe": {EVIL: [EVIL]},
        "hyperparameters": {**HYPERPARAMETERS, "architecture": EVIL},
    }
    models = models_of({"x": evil})
    page = Page(render_report(models, {}, "mark").decode())
    assert page.open == []
    assert page.all("img") == []
    assert len(page.all("script")) == 1
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert EVIL in page.texts, "it is shown as it is"


def test_a_picture_takes_the_colours_of_the_page() -> None:
    drawn = '<path style="fill: #1a1a1a; stroke: #ffffff"/>'
    svg = f'<?xml version="1.0"?>\n<!DOCTYPE svg>\n<svg><metadata>x</metadata>{drawn}</svg>'.encode()
    assert inline_svg(svg) == '<svg><path style="fill: var(--ink); stroke: var(--paper)"/></svg>'
