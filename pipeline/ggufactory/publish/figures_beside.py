"""The pictures and the report that lie beside the artifacts: each carries the digest of the figures that it was
drawn from.

What is there with the right digest, and with the bytes that SHA256SUMS lists, is kept: nothing is drawn, and another
release of matplotlib, whose pictures have other bytes, changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ggufactory.publish import sums
from ggufactory.publish.manifest import Manifest
from ggufactory.publish.measured import MeasuredModel, models_of
from ggufactory.publish.pictures import Picture, picture_files, pictures_of
from ggufactory.publish.report import REPORT, digest_of_report, render_report

_MARK = "ggufactory figures "
"""Begins the description of a picture and a comment of the report; the digest follows."""

Read = Callable[[str], bytes | None]


@dataclass(frozen=True, slots=True)
class FigureFile:
    """A file to lie beside the artifacts. `mark`: what it holds where it is drawn from the present figures."""

    name: str
    mark: bytes


def figure_files(manifest: Manifest) -> list[FigureFile]:
    """Those that the manifest has figures for; none where nothing was measured. Draws nothing."""
    models = _models(manifest)
    pictures = [picture for model in models for picture in pictures_of(model)]
    found = [FigureFile(name, _mark(picture.digest)) for picture in pictures for name in picture.files]
    return [*found, FigureFile(REPORT, _mark(digest_of_report(models)))] if models else []


def figure_names(manifest: Manifest) -> set[str]:
    """That figures of these models may have, in this manifest or an earlier one."""
    return {name for model in models_of(manifest.entries) for name in picture_files(model.name)} | {REPORT}


def draw_figures(manifest: Manifest, read: Read, listed: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each figure file. `read` gives what is there, `listed` the SHA256SUMS that is there; where
    both are right, what is there is what comes."""
    models = _models(manifest)
    drawn: dict[str, bytes] = {}
    for model in models:
        for picture in pictures_of(model):
            for name, data in _draw_picture(picture, read, listed):
                drawn[name] = data
                yield name, data
    if models:
        mark = _mark(digest_of_report(models))
        present = read(REPORT)
        kept = present if present is not None and is_right(present, mark, REPORT, listed) else None
        yield REPORT, kept or render_report(models, drawn, mark.decode())


def is_ours(data: bytes) -> bool:
    """Whether it was drawn here, and may be replaced."""
    return _MARK.encode() in data


def is_right(data: bytes, mark: bytes, name: str, listed: bytes) -> bool:
    """Whether it was drawn from the present figures and is what SHA256SUMS lists."""
    return mark in data and sums.lists(listed, name, hashlib.sha256(data).hexdigest())


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """SHA-256 by name."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def _draw_picture(picture: Picture, read: Read, listed: bytes) -> Iterator[tuple[str, bytes]]:
    mark = _mark(picture.digest)
    for name in picture.files:
        present = read(name)
        if present is not None and is_right(present, mark, name, listed):
            yield name, present
        else:
            yield name, picture.draw(name.removeprefix(picture.name), mark.decode())


def _models(manifest: Manifest) -> list[MeasuredModel]:
    return [model for model in models_of(manifest.entries) if model.has_figures]


def _mark(digest: str) -> bytes:
    return f"{_MARK}{digest}".encode()
