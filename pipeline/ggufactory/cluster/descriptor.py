"""What a worker is told: its own span and nothing else. Plain data, a few kilobytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ggufactory.architectures.model import RowMap
from ggufactory.checkpoint.rows import SourceRows
from ggufactory.plan.tensor_errors import PieceErrors
from ggufactory.storage.checksum import Checksum
from ggufactory.storage.protocol import Part, Upload


@dataclass(frozen=True, slots=True)
class PieceWork:
    """Rows [start, stop) of one output tensor, and all that is needed to make them."""

    tensor: str
    columns: int
    start: int
    stop: int
    rows_per_matrix: int
    converted_type: str
    sources: tuple[SourceRows, ...]
    """Those of the tensor that this piece reads."""
    skipped_rows: int
    """Of the tensor's sources before them."""
    row_map: RowMap | None
    value_map: str | None
    values: bytes | None
    padded: bool
    """The piece ends its tensor: each file's alignment is filled up with zeros after it."""

    @property
    def rows(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class PartWork:
    """This span's part of one rung's file. `types` and `weighted` (by importance): by piece."""

    upload: Upload
    number: int
    offset: int
    size: int
    header_bytes: int
    types: tuple[str, ...]
    weighted: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class SpanWork:
    """One span: read once, made for every file in `parts`."""

    index: int
    source: str
    target: str
    etags: Mapping[str, str]
    """Of each source file that is read."""
    pieces: tuple[PieceWork, ...]
    parts: tuple[PartWork, ...]
    only_measured: tuple[tuple[int, str, bool], ...] = ()
    """What parts that are stored were made of, where that was not measured: piece, type, weighted by importance."""


@dataclass(frozen=True, slots=True)
class Quantized:
    """What was quantized to one tensor type, and in how long."""

    weights: int
    seconds: float


@dataclass(frozen=True, slots=True)
class SpanReceipt:
    """What a finished span reports."""

    index: int
    parts: tuple[tuple[str, Part], ...]
    """By file name."""
    bytes_read: int
    bytes_written: int
    quantizations: int
    """Distinct (piece, type) pairs that were packed: each exactly once."""
    peak_rss: int
    """Highest resident memory of the worker process so far, in bytes."""
    seconds: float
    """Since the task's receipt before, or its beginning."""
    cpu_seconds: float
    """Of all threads of the worker in these seconds."""
    backend: str
    """What quantized: "cpu avx512", "cuda"."""
    stages: Mapping[str, float]
    """Seconds in each stage (`metrics.STAGES`) over all threads; stages overlap."""
    quantized: Mapping[str, Quantized]
    """By tensor type."""
    errors: tuple[PieceErrors, ...] = ()
    retries: int = 0
    """Attempts before this one, on whatever worker."""


@dataclass(frozen=True, slots=True)
class ChecksumReceipt:
    """One finished file read back."""

    name: str
    checksum: Checksum
    seconds: float
