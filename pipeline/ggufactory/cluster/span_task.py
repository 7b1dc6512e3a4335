"""The work of one span: read once, make every rung's part, upload each while the next is made.

Nothing here knows Ray: the same function runs in a test, in a thread, or as a task on a cluster.
"""

from __future__ import annotations

import resource
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

import ggufactory_kernels as gk
from ggufactory.checkpoint.rows import Bytes
from ggufactory.cluster.descriptor import PartWork, PieceWork, Quantized, SpanReceipt, SpanWork
from ggufactory.cluster.piece_errors import ErrorMeter
from ggufactory.cluster.row_conversion import convert_rows
from ggufactory.cluster.span_reader import SpanReader, Tile
from ggufactory.cluster.stage_clock import StageClock
from ggufactory.errors import DamagedSourceError
from ggufactory.plan.memory import UPLOADS_IN_FLIGHT
from ggufactory.storage import open_store
from ggufactory.storage.protocol import Part, Store, Upload
from ggufactory_kernels.cpu import best_instruction_set

Importance = npt.NDArray[np.float32]


def make_span(
    work: SpanWork,
    headers: Mapping[str, bytes],
    importance: Mapping[str, Importance],
    *,
    threads: int = 1,
    device: str = "cpu",
) -> SpanReceipt:
    """Make and store every part of `work`.

    `headers`: by file name, for the parts that begin a file; `importance`: by tensor name, float32
    [matrices, columns], for the tensors that have one. `device`: what quantizes, "cpu" or "cuda"; the bytes
    are the same. Safe to repeat. Raises what the stores raise,
    and DamagedSourceError for weights that cannot be quantized.
    """
    began, cpu_began = time.monotonic(), time.process_time()
    clock = StageClock()
    with (
        SpanReader(open_store(work.source), work.etags, work.pieces, clock) as reader,
        _Uploads(open_store(work.target), clock) as uploads,
    ):
        packer = _Packer(work, reader, importance, threads, clock, device)
        for number, part in enumerate(work.parts):
            uploads.wait_for_room()
            data = packer.part(number, headers.get(part.upload.name, b""))
            uploads.start(part, data)
            del data
        packer.measure_stored()
        stored = uploads.finish()
        fetched = reader.finish()
    return SpanReceipt(
        index=work.index,
        parts=tuple((p.upload.name, part) for p, part in zip(work.parts, stored, strict=True)),
        bytes_read=fetched,
        bytes_written=sum(p.size for p in work.parts),
        quantizations=packer.quantizations,
        peak_rss=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        seconds=time.monotonic() - began,
        cpu_seconds=time.process_time() - cpu_began,
        backend=device if device == "cuda" else f"cpu {best_instruction_set()}",
        stages=clock.seconds(),
        quantized=packer.quantized(),
        errors=packer.errors.report(),
    )


class _Uploads:
    """At most `UPLOADS_IN_FLIGHT` parts on their way; the memory bound of the plan rests on it."""

    def __init__(self, target: Store, clock: StageClock) -> None:
        self._target = target
        self._clock = clock
        self._pool = ThreadPoolExecutor(UPLOADS_IN_FLIGHT, thread_name_prefix="upload")
        self._sent: list[Future[Part]] = []

    def __enter__(self) -> _Uploads:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def wait_for_room(self) -> None:
        """Until only `UPLOADS_IN_FLIGHT` parts are on their way. Raises what an upload raised."""
        if len(self._sent) > UPLOADS_IN_FLIGHT:
            self._sent[-UPLOADS_IN_FLIGHT - 1].result()

    def start(self, part: PartWork, data: Bytes) -> None:
        assert data.nbytes == part.size
        self._sent.append(self._pool.submit(self._upload, part.upload, part.number, part.offset, data.data))

    def _upload(self, upload: Upload, number: int, offset: int, data: memoryview) -> Part:
        with self._clock.inside("upload"):
            return self._target.upload_part(upload, number, offset, data)

    def finish(self) -> list[Part]:
        return [sent.result() for sent in self._sent]


class _Packer:
    """Fills the parts of a span, packing each (piece, type) once."""

    def __init__(
        self,
        work: SpanWork,
        reader: SpanReader,
        importance: Mapping[str, Importance],
        threads: int,
        clock: StageClock,
        device: str,
    ) -> None:
        self._work = work
        self._reader = reader
        self._importance = importance
        self._threads = threads
        self._clock = clock
        self._weights: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._device = device
        self._uses = Counter(key for part in work.parts for key in _keys(part))
        self._kept: dict[_Key, Bytes] = {}
        self.errors = ErrorMeter(work.pieces, importance, clock, threads)
        self.quantizations = 0

    def part(self, number: int, header: bytes) -> Bytes:
        """The bytes of part `number`, which begins with `header` where it begins its file."""
        part = self._work.parts[number]
        assert len(header) == part.header_bytes
        data = np.empty(part.size, np.uint8)
        data[: len(header)] = np.frombuffer(header, np.uint8)
        at = len(header)
        for piece, key in zip(self._work.pieces, _keys(part), strict=True):
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

    def _fill(self, key: _Key, piece: PieceWork, rows: Bytes) -> None:
        self._uses[key] -= 1
        if key in self._kept:
            rows[:] = self._kept[key] if self._uses[key] else self._kept.pop(key)
            return
        self._pack_piece(key, piece, rows)
        if key.kind != piece.converted_type and self._uses[key]:
            self._kept[key] = rows.copy()

    def measure_stored(self) -> None:
        """The errors of what earlier runs have stored; tile by tile, since nobody wants the bytes."""
        for key in map(_Key._make, self._work.only_measured):
            if not self.errors.has(key):
                self._pack_piece(key, self._work.pieces[key.piece], None)

    def _pack_piece(self, key: _Key, piece: PieceWork, rows: Bytes | None) -> None:
        """Into `rows`, if they are given, and measured."""
        # The held type goes through the kernel too: it copies, and refuses what is not finite.
        row_bytes = gk.TENSOR_TYPES[key.kind].row_bytes(piece.columns)
        device = self._device_of(key)
        spent = 0.0
        for tile in self._reader.tiles(key.piece):
            shape = (tile.stop - tile.start, row_bytes)
            out = np.empty(shape, np.uint8) if rows is None else rows[tile.start : tile.stop]
            began = time.monotonic()
            self._pack(key, piece, tile, out)
            spent += time.monotonic() - began
            self.errors.add(key, tile.start, self._reader.held[key.piece][tile.start : tile.stop], out, device)
        self._clock.add("quantize", spent)
        if key.kind != piece.converted_type:
            self.quantizations += 1
            self._weights[key.kind] += piece.rows * piece.columns
            self._seconds[key.kind] += spent

    def _device_of(self, key: _Key) -> str:
        """Plain numbers are copied, which is not worth the way to a GPU."""
        return self._device if gk.TENSOR_TYPES[key.kind].is_quantized else "cpu"

    def _pack(self, key: _Key, piece: PieceWork, tile: Tile, out: Bytes) -> None:
        """One tile, cut where a matrix of a stack ends: each matrix has importance of its own."""
        held = self._reader.held[key.piece]
        importance = self._importance[piece.tensor] if key.weighted else None
        row = tile.start
        while row < tile.stop:
            matrix = (piece.start + row) // piece.rows_per_matrix
            stop = min(tile.stop, (matrix + 1) * piece.rows_per_matrix - piece.start)
            try:
                convert_rows(
                    held[row:stop],
                    piece.converted_type,
                    key.kind,
                    piece.columns,
                    out[row - tile.start : stop - tile.start],
                    importance=importance[matrix] if importance is not None else None,
                    threads=self._threads,
                    device=self._device_of(key),
                )
            except ValueError as error:
                where = f"tensor {piece.tensor}, rows {piece.start + row} to {piece.start + stop}"
                raise DamagedSourceError(f"{where}: cannot be made {key.kind}: {error}") from error
            row = stop


class _Key(NamedTuple):
    """What is packed once: a piece, as a type, with or without importance."""

    piece: int
    kind: str
    weighted: bool


def _keys(part: PartWork) -> list[_Key]:
    return [_Key(i, *how) for i, how in enumerate(zip(part.types, part.weighted, strict=True))]
