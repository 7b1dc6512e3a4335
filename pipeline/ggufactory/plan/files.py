"""The files of one rung: one, or several that llama.cpp loads as one, and where every part begins.

Splits are named and keyed as llama-gguf-split does with --no-tensor-first-split (source:
llama.cpp, `tools/gguf-split/gguf-split.cpp`): the first file holds all metadata and no tensor, so that
a change of metadata alone re-makes nothing but it. Files end where a span and a tensor end together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from ggufactory.container.metadata import KeyValue, ValueType
from ggufactory.errors import PlanError
from ggufactory.plan.header import ALIGNMENT, HeaderOf
from ggufactory.plan.layout import Piece, RowCosts

BIT_IDENTITY = 1
"""Raised when a release would write other bytes for the same inputs, so that runs never mix them."""


@dataclass(frozen=True, slots=True)
class Split:
    """Where a rung's file is split: where it grows larger than `max_bytes` of tensors, or `at_tensors`."""

    max_bytes: int | None = None
    at_tensors: tuple[int, ...] = ()
    """Numbers of the tensors that begin the second file and those after it: the source's own split."""

    def keys(self, number: int, count: int, tensors: int) -> tuple[KeyValue, ...]:
        """In the order that llama-gguf-split, or llama-quantize --keep-split, leaves them in."""
        which = KeyValue("split.no", ValueType.UINT16, number)
        of = KeyValue("split.count", ValueType.UINT16, count)
        total = KeyValue("split.tensors.count", ValueType.INT32, tensors)
        return (which, of, total) if self.at_tensors else (which, total, of)


@dataclass(frozen=True, slots=True)
class FilePlan:
    """One GGUF file. `part_offsets[i]` is where the part of span `first_span + i` begins; the last is its size."""

    name: str
    tensors: tuple[int, int]
    """The plan's tensors [first, behind the last) that it holds."""
    split: tuple[KeyValue, ...]
    """The keys that say which of several files it is; empty for a file by itself."""
    with_metadata: bool
    """False for the later files of a split."""
    header_bytes: int
    first_span: int
    part_offsets: tuple[int, ...]
    identity: str
    """What the file's bytes follow from, hashed: files with the same identity are the same file."""

    @property
    def size(self) -> int:
        return self.part_offsets[-1]

    @property
    def parts(self) -> int:
        return len(self.part_offsets) - 1

    def part_bytes(self, span: int) -> int:
        """Size of the part that a span makes of this file; 0 when it makes none."""
        at = span - self.first_span
        return self.part_offsets[at + 1] - self.part_offsets[at] if 0 <= at < self.parts else 0


def padding(size: int) -> int:
    """Zero bytes after a tensor of `size` bytes, up to the file's alignment."""
    return -size % ALIGNMENT


def plan_files(
    stem: str,
    spans: Sequence[Sequence[Piece]],
    costs: Sequence[RowCosts],
    rung: int,
    header_of: HeaderOf,
    inputs: object,
    split: Split,
) -> tuple[FilePlan, ...]:
    """The files `stem`.gguf, or `stem`-0000i-of-0000n.gguf where it is to be split.

    `rung` numbers the rung in `costs`; `inputs` is what the bytes follow from besides the header.
    PlanError when a tensor by itself is larger than `split.max_bytes`.
    """
    sizes = [_span_bytes(span, costs, rung) for span in spans]
    # A plan that may be split by size has an empty first span, for the file of metadata alone.
    files = [(0 if spans[0] else 1, len(spans))]
    if split.at_tensors:
        begun = [n for n, span in enumerate(spans) if span[0].start == 0 and span[0].tensor in split.at_tensors]
        files = list(pairwise([0, *begun, len(spans)]))
    elif split.max_bytes is not None and sum(sizes) > split.max_bytes:
        files = [(0, 0), *pairwise(_borders(stem, spans, costs, sizes, split.max_bytes))]
    count = len(files)
    planned = []
    for number, (start, stop) in enumerate(files):
        tensors = _tensors(spans[start:stop], len(costs))
        keys = split.keys(number, count, len(costs)) if count > 1 else ()
        name = f"{stem}-{number + 1:05}-of-{count:05}.gguf" if count > 1 else f"{stem}.gguf"
        header = header_of(tensors, keys, number == 0)
        parts = sizes[start:stop] or [0]
        offsets = tuple(accumulate([len(header) + parts[0], *parts[1:]], initial=0))
        identity = hash_of([BIT_IDENTITY, hashlib.sha256(header).hexdigest(), inputs])
        planned.append(FilePlan(name, tensors, keys, number == 0, len(header), start, offsets, identity))
    return tuple(planned)


def hash_of(value: object) -> str:
    """SHA-256 of a value's JSON."""
    return hashlib.sha256(json.dumps(value, separators=(",", ":")).encode()).hexdigest()


def _span_bytes(span: Sequence[Piece], costs: Sequence[RowCosts], rung: int) -> int:
    total = 0
    for piece in span:
        cost = costs[piece.tensor]
        total += (piece.stop - piece.start) * cost.rung_rows[rung]
        if piece.stop == cost.rows:
            total += padding(cost.rows * cost.rung_rows[rung])
    return total


def _borders(
    stem: str, spans: Sequence[Sequence[Piece]], costs: Sequence[RowCosts], sizes: Sequence[int], split_bytes: int
) -> list[int]:
    """Spans at which a file begins, and the end: each file as large as may be."""
    possible = [n + 1 for n, span in enumerate(spans) if span and span[-1].stop == costs[span[-1].tensor].rows]
    begin = end = 1
    borders = [begin]
    for border in possible:
        if sum(sizes[end:border]) > split_bytes:
            raise PlanError(
                [f"{stem}: {sum(sizes[end:border]):,} bytes cannot be divided, more than a file may have"],
                fix="Ask for larger files (--split-max-size) or smaller spans (--span-size)",
            )
        if sum(sizes[begin:border]) > split_bytes:
            borders.append(end)
            begin = end
        end = border
    return [*borders, len(spans)]


def _tensors(spans: Sequence[Sequence[Piece]], count: int) -> tuple[int, int]:
    pieces = [piece for span in spans for piece in span]
    return (pieces[0].tensor, pieces[-1].tensor + 1) if pieces else (0, 0)
