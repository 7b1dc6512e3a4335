"""The work of one span: read once, make every rung's part, upload each while the next is made.

Nothing here knows Ray: the same code runs in a test, in a thread, or in a task on a cluster
(`span_pipeline.py`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

import ggufactory_kernels as gk
from ggufactory.checkpoint.rows import Bytes
from ggufactory.cluster.descriptor import PartWork, PieceWork, Quantized, SpanReceipt, SpanWork
from ggufactory.cluster.device_decoding import decoded_on_device
from ggufactory.cluster.device_rows import DeviceRows
from ggufactory.cluster.part_uploads import PartUploads
from ggufactory.cluster.piece_errors import ErrorMeter, Packing
from ggufactory.cluster.piece_rows import HostRows, Importance, PieceRows
from ggufactory.cluster.span_reader import SpanReader
from ggufactory.cluster.stage_clock import StageClock
from ggufactory.plan.tensor_errors import PieceErrors
from ggufactory.storage.protocol import Part, Store
from ggufactory_kernels.cpu import best_instruction_set
from ggufactory_kernels.cuda.courier import own_courier


@dataclass(frozen=True, slots=True)
class Workplace:
    """What the spans of one task share. `device`: what quantizes, "cpu" or "cuda"; the bytes are the same."""

    source: Store
    reads: ThreadPoolExecutor
    uploads: PartUploads
    threads: int
    device: str

    @property
    def backend(self) -> str:
        return self.device if self.device == "cuda" else f"cpu {best_instruction_set()}"


class SpanTask:
    """One span: its reading begins at once, its parts are made by `make`, and `stored` waits for them."""

    def __init__(self, work: SpanWork, at: Workplace) -> None:
        self.work = work
        self.clock = StageClock()
        self._at = at
        encoded = decoded_on_device(work) if at.device == "cuda" else frozenset()
        self._reader = SpanReader(at.source, work.etags, work.pieces, self.clock, at.reads, encoded)
        self._sent: list[Future[Part]] = []

    def make(self, headers: Mapping[str, bytes], importance: Mapping[str, Importance]) -> Made:
        """Make every part and put it on its way. Raises what the stores raise, DamagedSourceError for weights
        that cannot be quantized, MemoryError where a GPU is full."""
        meter = ErrorMeter(self.work.pieces)
        packer = _Packer(self.work, self._rows(importance, meter))
        for number, part in enumerate(self.work.parts):
            self._at.uploads.wait_for_room()
            self._raise_failed()
            data = packer.part(number, headers[part.upload.name] if part.header_bytes else b"")
            self._sent.append(self._at.uploads.start(part, data, self.clock))
            del data
        # The errors of what earlier runs have stored.
        for packing in map(Packing._make, self.work.only_measured):
            if not meter.has(packing):
                packer.pack(packing, None)
        return Made(self._reader.finish(), packer.quantizations, packer.quantized(), meter.report())

    def is_stored(self) -> bool:
        """Whether `stored` would not have to wait."""
        return all(sent.done() for sent in self._sent)

    def stored(self) -> list[Part]:
        """Wait for all parts. Raises what an upload raised."""
        return [sent.result() for sent in self._sent]

    def close(self) -> None:
        """Give up what is still to be read, and the rows."""
        self._reader.close()

    def _rows(self, importance: Mapping[str, Importance], meter: ErrorMeter) -> PieceRows:
        pieces, reader, clock = self.work.pieces, self._reader, self.clock
        host = HostRows(pieces, reader, importance, meter, clock, threads=self._at.threads)
        if self._at.device != "cuda":
            return host
        return DeviceRows(pieces, reader, importance, meter, clock, host, own_courier())

    def _raise_failed(self) -> None:
        for sent in self._sent:
            if sent.done():
                sent.result()


class Made(NamedTuple):
    """What making a span has counted, as in its receipt."""

    bytes_read: int
    quantizations: int
    quantized: dict[str, Quantized]
    errors: tuple[PieceErrors, ...]


def receipt_of(
    span: SpanTask, made: Made, *, backend: str, seconds: float, cpu_seconds: float, peak_rss: int
) -> SpanReceipt:
    """Of a span whose parts are stored; else it waits for them, and raises what an upload raised."""
    work, stored = span.work, span.stored()
    return SpanReceipt(
        index=work.index,
        parts=tuple((p.upload.name, part) for p, part in zip(work.parts, stored, strict=True)),
        bytes_read=made.bytes_read,
        bytes_written=sum(p.size for p in work.parts),
        quantizations=made.quantizations,
        peak_rss=peak_rss,
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        backend=backend,
        stages=span.clock.seconds(),
        quantized=made.quantized,
        errors=made.errors,
    )


class _Packer:
    """Fills the parts of a span, packing each (piece, type) once."""

    def __init__(self, work: SpanWork, rows: PieceRows) -> None:
        self._work = work
        self._rows = rows
        self._weights: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._uses = Counter(key for part in work.parts for key in _packings(part))
        self._kept: dict[Packing, Bytes] = {}
        self.quantizations = 0

    def part(self, number: int, header: bytes) -> Bytes:
        """The bytes of part `number`, which begins with `header` where it begins its file."""
        part = self._work.parts[number]
        assert len(header) == part.header_bytes
        data = np.empty(part.size, np.uint8)
        data[: len(header)] = np.frombuffer(header, np.uint8)
        at = len(header)
        for piece, key in zip(self._work.pieces, _packings(part), strict=True):
            row_bytes = gk.TENSOR_TYPES[key.kind].row_bytes(piece.columns)
            rows = data[at : at + piece.rows * row_bytes].reshape(piece.rows, row_bytes)
            self._fill(key, piece, rows)
            at += rows.nbytes
            if piece.padded:
                pad = -(row_bytes * (piece.stop)) % 32
                data[at : at + pad] = 0
                at += pad
        assert at == part.size
        return data

    def quantized(self) -> dict[str, Quantized]:
        """So far, by tensor type."""
        return {kind: Quantized(weights, self._seconds[kind]) for kind, weights in self._weights.items()}

    def _fill(self, key: Packing, piece: PieceWork, rows: Bytes) -> None:
        self._uses[key] -= 1
        if key in self._kept:
            rows[:] = self._kept[key] if self._uses[key] else self._kept.pop(key)
            return
        self.pack(key, rows)
        if key.kind != piece.converted_type and self._uses[key]:
            self._kept[key] = rows.copy()

    def pack(self, key: Packing, rows: Bytes | None) -> None:
        """Into `rows`, if they are given, and measured."""
        spent = self._rows.make(key, rows)
        piece = self._work.pieces[key.piece]
        if key.kind != piece.converted_type:
            self.quantizations += 1
            self._weights[key.kind] += piece.rows * piece.columns
            self._seconds[key.kind] += spent


def _packings(part: PartWork) -> list[Packing]:
    return [Packing(i, *how) for i, how in enumerate(zip(part.types, part.weighted, strict=True))]
