"""What `ggufactory imatrix` prints: statistics as tables or as JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console

from ggufactory.calibrate.coverage import count_experts
from ggufactory.calibrate.imatrix_file import ReadImatrix
from ggufactory.calibrate.imatrix_statistics import (
    ExpertCoverage,
    ImatrixStatistics,
    TensorStatistics,
    kind_of,
    layer_of,
)
from ggufactory.calibrate.record import CalibrationRecord, record_of
from ggufactory.calibrate.sums import ImatrixFile
from ggufactory.observe.console import tell
from ggufactory.observe.numbers import counted, show_bytes
from ggufactory.observe.tables import fitting, plain_table

_COLUMNS: dict[str, Callable[[TensorStatistics], str]] = {
    "layer>": lambda of: "-" if of.layer is None else str(of.layer),
    "tensor": lambda of: of.kind,
    "sum>": lambda of: f"{of.sum:.2f}",
    "min>": lambda of: f"{of.least:.4f}",
    "max>": lambda of: f"{of.most:.4f}",
    "mean>": lambda of: f"{of.mean:.2f}",
    "sd>": lambda of: f"{of.deviation:.2f}",
    "active>": lambda of: f"{of.active:.2%}",
    "columns>": lambda of: str(of.columns),
    "entropy>": lambda of: f"{of.entropy:.4f}",
    "of max>": lambda of: f"{of.normalized_entropy:.2%}",
    "ZD>": lambda of: f"{of.outliers:.2%}",
    "cosine>": lambda of: "-" if of.similarity is None else f"{of.similarity:.4f}",
}
_FULL_WIDTH = 130
"""Characters that all columns take, with long names and large sums."""
_LEFT_OUT = ("min>", "max>", "sd>", "columns>", "entropy>")
"""Columns that narrower terminals do not get."""
_THIN_SHOWN = 5


def headline(read: ReadImatrix) -> str:
    """The file in a line: its name, entries and chunks."""
    return f"{read.name}: {_contents(read.content)}"


def print_statistics(console: Console, read: ReadImatrix, statistics: ImatrixStatistics) -> None:
    """A row per tensor, one per layer, and one per layer's experts; then what has no data."""
    names = ", ".join(_text(name) for name in read.content.datasets)
    console.print(headline(read) + (f"; text: {names}" if names else ""), soft_wrap=True)
    _print_tensors(console, statistics)
    if statistics.layers:
        layers = plain_table("layer>", "mean sum>", "mean ZD>", "mean cosine>")
        for of in statistics.layers:
            layers.add_row(str(of.layer), f"{of.sum:.2f}", f"{of.outliers:.2%}", f"{of.similarity:.4f}")
        console.print("\nmeans of the layers, weighted by columns")
        console.print(layers)
    print_experts(console, statistics.experts)
    if (record := record_of(read.content)) is not None:
        print_policy(console, record)
    for entry in statistics.empty:
        tell(console, "note", "yellow", f"{entry} has no data")


def print_policy(console: Console, record: CalibrationRecord) -> None:
    """What was done about experts that few tokens reached, and about layers that never ran."""
    if record.thin:
        done = {
            "ones": "those that saw none get equal weights, as in llama.cpp",
            "prior": "the activations of the layer's other experts stand in for what they lack",
            "more": "the text has no more for them, or the limit of chunks was reached",
        }[record.coverage.policy]
        told = f"{count_experts(record.thin)} saw fewer than {record.coverage.tokens} tokens; {done}"
        tell(console, "note", "yellow", told)
    layers = sorted({layer for name in record.unreached if (layer := layer_of(name)) is not None})
    if layers:
        stands_in = sum(what == "prior" for what in record.unreached.values())
        tell(
            console,
            "note",
            "yellow",
            f"layers that never ran: {', '.join(map(str, layers))}; of their "
            f"{len(record.unreached)} tensors {stands_in} take the activations of the last layer that ran, the others "
            "equal weights",
        )


def print_merged(console: Console, uri: str, file: ImatrixFile, size: int) -> None:
    """What was written, and a note when some of it has no data."""
    console.print(f"{uri}: {_contents(file)}; {show_bytes(size)}", soft_wrap=True)
    partial = sum(not sums.counts.all() for sums in file.entries.values())
    if partial:
        tell(
            console,
            "note",
            "yellow",
            f"in {partial} entries there are matrices (experts) that no token reached; "
            "`ggufactory imatrix show` lists them",
        )


def as_json(read: ReadImatrix, statistics: ImatrixStatistics) -> dict[str, Any]:
    """Everything that the tables show, and more digits; null for what is no finite number."""
    tensors = [{**asdict(of), "normalized_entropy": of.normalized_entropy} for of in statistics.tensors]
    return {
        "file": read.name,
        "sha256": read.sha256,
        "datasets": [_text(name) for name in read.content.datasets],
        "chunk_count": read.content.chunk_count,
        "chunk_size": read.content.chunk_size or None,
        "entries": len(read.content.entries),
        "tensors": [_finite(of) for of in tensors],
        "layers": [_finite(asdict(of)) for of in statistics.layers],
        "experts": [_finite(asdict(of)) for of in statistics.experts],
        "empty": list(statistics.empty),
        "calibration": None if (record := record_of(read.content)) is None else record.as_json(),
    }


def _print_tensors(console: Console, statistics: ImatrixStatistics) -> None:
    columns = fitting(console, _COLUMNS, _FULL_WIDTH, _LEFT_OUT)
    table = plain_table(*columns)
    for of in statistics.tensors:
        table.add_row(*(show(of) for show in columns.values()))
    console.print(table)


def print_experts(console: Console, experts: Sequence[ExpertCoverage]) -> None:
    """A row for the experts of each layer: how many tokens reached them, and which of them few did."""
    if not experts:
        return
    table = plain_table("layer>", "tensors", "experts>", "unseen>", "fewest>", "median>", "most>", "thin>", "(tokens)")
    for (layer, *counts, thinnest), kinds in _by_layer(experts).items():
        table.add_row("-" if layer is None else str(layer), ", ".join(kinds), *map(str, counts), str(thinnest))
    console.print("\ntokens that reached each expert")
    console.print(table)


def _by_layer(experts: Sequence[ExpertCoverage]) -> dict[tuple[object, ...], list[str]]:
    """The kinds of tensors by layer and counts: those of one layer see the same tokens."""
    rows: dict[tuple[object, ...], list[str]] = {}
    for of in sorted(experts, key=lambda of: (layer_of(of.entry) or 0, of.entry)):
        tokens = (of.fewest, f"{of.median:g}", of.most)
        row = (layer_of(of.entry), of.matrices, len(of.unseen), *tokens, len(of.thin), _thinnest(of))
        rows.setdefault(row, []).append(kind_of(of.entry))
    return rows


def _thinnest(of: ExpertCoverage) -> str:
    shown = ", ".join(f"{matrix} ({tokens:,})" for matrix, tokens in of.thin[:_THIN_SHOWN])
    return shown + ", …" * (len(of.thin) > _THIN_SHOWN)


def _contents(file: ImatrixFile) -> str:
    size = f" of {file.chunk_size} tokens" if file.chunk_size else ""
    return f"{len(file.entries):,} entries, {counted(file.chunk_count, 'chunk')}{size}"


def _finite(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in fields.items()
    }


def _text(name: str | bytes) -> str:
    """Printable, whatever a stranger called it."""
    text = name if isinstance(name, str) else name.decode(errors="backslashreplace")
    return text if text.isprintable() else repr(text)
