"""Reading a span: source ranges become the rows of the converter's file, tile by tile.

A tile is a run of rows of one piece. Tiles are fetched by a few threads in file order, reordered
where the architecture asks for it, and rounded to the converted type; whoever quantizes waits only
for the tiles that it is about to use.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

import ggufactory_kernels as gk
from ggufactory.checkpoint.rows import Bytes, SourceRows
from ggufactory.cluster.descriptor import PieceWork
from ggufactory.cluster.row_conversion import apply_value_map, check_stored
from ggufactory.cluster.stage_clock import StageClock
from ggufactory.errors import DamagedSourceError, InputError
from ggufactory.plan.memory import TILE_BYTES
from ggufactory.storage.protocol import Store


@dataclass(frozen=True, slots=True)
class Tile:
    """Rows [start, stop) of piece number `piece`, counted from the piece's first row."""

    piece: int
    start: int
    stop: int


class SpanReader:
    """The span's rows in memory, filled in the background by `pool`, after whatever that was given before."""

    def __init__(
        self,
        store: Store,
        etags: Mapping[str, str],
        pieces: tuple[PieceWork, ...],
        clock: StageClock,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._store = store
        self._clock = clock
        self._etags = etags
        self._pieces = pieces
        self.held = [
            np.empty((p.rows, gk.TENSOR_TYPES[p.converted_type].row_bytes(p.columns)), np.uint8) for p in pieces
        ]
        self._tiles = list(_tiles(pieces))
        self._reads: list[Future[int]] = [pool.submit(self._make_tile, tile) for tile in self._tiles]

    def tiles(self, piece: int, start: int = 0, stop: int | None = None) -> Iterator[Tile]:
        """The piece's tiles in order, each once its rows are there: all, or what lies in rows [start, stop)."""
        end = self._pieces[piece].rows if stop is None else stop
        for tile, read in zip(self._tiles, self._reads, strict=True):
            if tile.piece == piece and tile.start < end and tile.stop > start:
                read.result()
                yield Tile(piece, max(tile.start, start), min(tile.stop, end))

    def finish(self) -> int:
        """Wait for everything; the bytes that were fetched."""
        return sum(read.result() for read in self._reads)

    def close(self) -> None:
        """Read no more, and let the rows go."""
        wait([read for read in self._reads if not read.cancel()])
        self.held = []

    def _make_tile(self, tile: Tile) -> int:
        with self._clock.inside("convert"):
            return self._read_tile(tile)

    def _read_tile(self, tile: Tile) -> int:
        piece = self._pieces[tile.piece]
        out = self.held[tile.piece][tile.start : tile.stop]
        if piece.values is not None:
            held = np.frombuffer(piece.values, np.uint8).reshape(-1, out.shape[1])
            out[:] = held[piece.start + tile.start : piece.start + tile.stop]
            return 0
        start, stop = piece.start + tile.start, piece.start + tile.stop
        if piece.row_map is None:
            return self._read_rows(piece, start, stop, out)
        rows = piece.row_map.source_rows(start, stop)
        first, last = int(rows.min()), int(rows.max()) + 1
        # By the source's columns: a bias is one output row, made of sources of one column.
        row_bytes = gk.TENSOR_TYPES[piece.converted_type].row_bytes(piece.sources[0].columns)
        covered = np.empty((last - first, row_bytes), np.uint8)
        fetched = self._read_rows(piece, first, last, covered)
        np.take(covered, rows - first, axis=0, out=out.reshape(len(rows), -1), mode="clip")
        return fetched

    def _read_rows(self, piece: PieceWork, start: int, stop: int, out: Bytes) -> int:
        """Rows [start, stop) of the stacked sources into `out`, in the converted type."""
        fetched = 0
        firsts = accumulate((s.rows for s in piece.sources), initial=piece.skipped_rows)
        for source, first in zip(piece.sources, firsts, strict=False):
            begin, end = max(start, first), min(stop, first + source.rows)
            if begin < end:
                fetched += self._read_source(
                    source, begin - first, end - first, piece, out[begin - start : end - start]
                )
        return fetched

    def _read_source(self, source: SourceRows, start: int, stop: int, piece: PieceWork, out: Bytes) -> int:
        counted = 0
        refusal: InputError | None = None

        def read(file: str, offset: int, buffer: memoryview) -> None:
            nonlocal counted, refusal
            try:
                with self._clock.inside("read"):
                    self._store.read_into(file, offset, buffer, etag=self._etags[file])
            except InputError as error:
                refusal = error
                raise
            counted += buffer.nbytes

        same = source.dtype == piece.converted_type and piece.value_map is None
        row_bytes = gk.TENSOR_TYPES[source.dtype].row_bytes(source.columns)
        rows = out if same else np.empty((stop - start, row_bytes), np.uint8)
        try:
            source.read_rows(start, stop, rows, read)
            check_stored(rows, source, start)
            if not same:
                self._convert(rows, source, piece, out)
        except InputError as error:
            if error is refusal:  # the store's word, about the request and not about the weights
                raise
            raise DamagedSourceError(error.message, fix=error.fix) from error
        except ValueError as error:
            where = f"{source.file}: tensor {source.tensor}, rows {start} to {stop}"
            raise DamagedSourceError(f"{where}: {error}") from error
        return counted

    def _convert(self, rows: Bytes, source: SourceRows, piece: PieceWork, out: Bytes) -> None:
        kind = source.dtype
        if piece.value_map is not None:
            rows, kind = apply_value_map(piece.value_map, rows, kind), "F32"
        gk.quantize_into(rows.data, kind, piece.converted_type, source.columns, out.data)


def _tiles(pieces: tuple[PieceWork, ...]) -> Iterator[Tile]:
    """Each of some megabytes, but of whole units: what takes the reading of a matrix is read once."""
    for number, piece in enumerate(pieces):
        rows = max(TILE_BYTES // gk.TENSOR_TYPES["F32"].row_bytes(piece.columns), 1)
        unit = max((source.unit for source in piece.sources), default=1)
        step = max(rows // unit, 1) * unit
        start = piece.start
        while start < piece.stop:
            stop = min(start - start % unit + step, piece.stop)
            yield Tile(number, start - piece.start, stop - piece.start)
            start = stop
