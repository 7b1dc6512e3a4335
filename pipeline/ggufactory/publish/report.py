"""`report.html`: one page with all that was measured of a target's rungs, which needs no network and no other file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files

from ggufactory.publish.measured import MeasuredModel
from ggufactory.publish.pictures import ERRORS, QUALITY, Picture, pictures_of
from ggufactory.publish.report_svg import inline_svg
from ggufactory.publish.report_tables import guide_table, how_measured, quality_table, worst_tensors

REPORT = "report.html"
_SHOWN_SUFFIX = ".svg"
_CAPTIONS = {
    QUALITY: "Further down is nearer to the original, further left is smaller: a file that has another one below it "
    "and to its left is not worth its bytes.",
    ERRORS: "Of each tensor that was quantized: the root of the weighted squared differences over that of the "
    "weighted squares. The weights are those of the importance matrix, where one was used.",
}


def digest_of_report(models: Sequence[MeasuredModel]) -> str:
    """Of all that the page shows; nothing is drawn for it."""
    marks = {picture.name + _SHOWN_SUFFIX: b"" for model in models for picture in pictures_of(model)}
    told = [picture.digest for model in models for picture in pictures_of(model)]
    return hashlib.sha256(render_report(models, marks, " ".join(told))).hexdigest()


def render_report(models: Sequence[MeasuredModel], drawn: Mapping[str, bytes], mark: str) -> bytes:
    """The page in UTF-8. `drawn`: the pictures, by the names of their files; `mark`: a comment at its beginning."""
    style, script = _asset("report.css"), _asset("report.js")
    names = ", ".join(escape(model.name) for model in models)
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{allowed}'"
    parts = [
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<!-- {mark} -->\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{names}: quality of every file</title>\n<style>\n{style}</style>\n</head>\n<body>",
        f"<h1>{names}</h1>\n<p>How near each file is to the original model, and which one to take. "
        'Made by ggufactory from <a href="manifest.json">manifest.json</a>.</p>',
        *(_section(model, drawn, named=len(models) > 1) for model in models),
        f"<script>{script}</script>\n</body>\n</html>\n",
    ]
    # Names of strangers may hold what UTF-8 cannot.
    return "\n".join(parts).encode(errors="replace")


def _section(model: MeasuredModel, drawn: Mapping[str, bytes], *, named: bool) -> str:
    parts = [f"<h2>{escape(model.name)}</h2>" if named else "", quality_table(model), how_measured(model)]
    parts += [guide_table(model)]
    parts += [_figure(picture, drawn[picture.name + _SHOWN_SUFFIX]) for picture in pictures_of(model)]
    return "\n".join(part for part in [*parts, worst_tensors(model)] if part)


def _figure(picture: Picture, svg: bytes) -> str:
    kind = picture.name.rpartition(".")[2]
    return (
        f'<figure>\n<div class="scroll" tabindex="0" role="img" aria-label="{escape(picture.alt)}">\n'
        f"{inline_svg(svg)}</div>\n"
        f"<figcaption>{_CAPTIONS[kind]}</figcaption>\n</figure>"
    )


def _asset(name: str) -> str:
    return (files("ggufactory.publish") / name).read_text(encoding="utf-8")
