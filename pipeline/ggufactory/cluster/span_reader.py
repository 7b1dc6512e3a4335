"""Reading a span, tile by tile: in the background, in file order.

A tile is a run of rows of one piece. Tiles are fetched by a few threads; whoever quantizes waits only for the tiles
that it is about to use.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np

import ggufactory_kernels as gk
from ggufactory.checkpoint.packing.encoded_rows import EncodedRows
from ggufactory.checkpoint.rows import Bytes
from ggufactory.cluster.descriptor import PieceWork
from ggufactory.cluster.stage_clock import StageClock
from ggufactory.cluster.tile_reader import TileReader
from ggufactory.plan.memory import tile_rows
from ggufactory.storage.protocol import Store


@dataclass(frozen=True, slots=True)
class HeldTile:
    """Rows [start, stop) of a piece, counted from its first row, in memory."""

    start: int
    stop: int
    held: Bytes | tuple[EncodedRows, ...]
    """[rows, bytes per row], converted; or one after the other as sources store them, for a GPU to decode."""

    @property
    def rows(self) -> Bytes:
        """Of a tile that is held converted."""
        assert isinstance(self.held, np.ndarray)
        return self.held

    def part(self, start: int, stop: int) -> HeldTile:
        """What it has of rows [start, stop)."""
        start, stop = max(start, self.start), min(stop, self.stop)
        if isinstance(self.held, np.ndarray):
            return HeldTile(start, stop, self.held[start - self.start : stop - self.start])
        runs, first = [], self.start
        for run in self.held:
            begin, end = max(start, first), min(stop, first + run.rows)
            if begin < end:
                runs.append(run.part(begin - first, end - first))
            first += run.rows
        return HeldTile(start, stop, tuple(runs))


class SpanReader:
    """The span's rows in memory, filled in the background by `pool`, after whatever that was given before.

    `encoded`: the pieces that are held as they are stored, as far as that is possible and takes no more memory; their
    sources are all `EncodedSource`.
    """

    def __init__(
        self,
        store: Store,
        etags: Mapping[str, str],
        pieces: tuple[PieceWork, ...],
        clock: StageClock,
        pool: ThreadPoolExecutor,
        encoded: Collection[int] = (),
    ) -> None:
        self._reader = TileReader(store, etags, clock)
        self._pieces = pieces
        self._clock = clock
        self._rows = {number: _rows(p, p.rows) for number, p in enumerate(pieces) if number not in encoded}
        self._tiles = list(_tiles(pieces))
        self._reads: list[Future[tuple[HeldTile, int]]] = [pool.submit(self._read, tile) for tile in self._tiles]

    def tiles(self, piece: int, start: int = 0, stop: int | None = None) -> Iterator[HeldTile]:
        """The piece's tiles in order, each once it is there: all, or those that have some of rows [start, stop)."""
        end = self._pieces[piece].rows if stop is None else stop
        for tile, read in zip(self._tiles, self._reads, strict=True):
            if tile.piece == piece and tile.start < end and tile.stop > start:
                yield read.result()[0]

    def check_encoded(self, piece: int, start: int, stop: int) -> None:
        """Read again, and decode, what is held as it is stored and has some of rows [start, stop).

        Raises the DamagedSourceError that reading would have raised.
        """
        for tile in self.tiles(piece, start, stop):
            if isinstance(tile.held, tuple):
                work = self._pieces[piece]
                self._reader.read(work, tile.start, tile.stop, _rows(work, tile.stop - tile.start))

    def finish(self) -> int:
        """Wait for everything; the bytes that were fetched."""
        return sum(read.result()[1] for read in self._reads)

    def close(self) -> None:
        """Read no more, and let the rows go."""
        wait([read for read in self._reads if not read.cancel()])
        self._reads, self._rows = [], {}

    def _read(self, tile: _Tile) -> tuple[HeldTile, int]:
        """And the bytes that were fetched for it."""
        piece, rows = self._pieces[tile.piece], self._rows.get(tile.piece)
        with self._clock.inside("convert"):
            if rows is None:
                encoded = self._reader.read_encoded(piece, tile.start, tile.stop)
                if encoded is not None:
                    return HeldTile(tile.start, tile.stop, encoded[0]), encoded[1]
            out = _rows(piece, tile.stop - tile.start) if rows is None else rows[tile.start : tile.stop]
            return HeldTile(tile.start, tile.stop, out), self._reader.read(piece, tile.start, tile.stop, out)


@dataclass(frozen=True, slots=True)
class _Tile:
    """Rows [start, stop) of piece number `piece`, counted from the piece's first row."""

    piece: int
    start: int
    stop: int


def _rows(piece: PieceWork, rows: int) -> Bytes:
    return np.empty((rows, gk.TENSOR_TYPES[piece.converted_type].row_bytes(piece.columns)), np.uint8)


def _tiles(pieces: tuple[PieceWork, ...]) -> Iterator[_Tile]:
    """Each of some megabytes, but of whole units: what takes the reading of a matrix is read once."""
    for number, piece in enumerate(pieces):
        unit = max((source.unit for source in piece.sources), default=1)
        step = tile_rows(piece.columns, unit)
        start = piece.start
        while start < piece.stop:
            stop = min(start - start % unit + step, piece.stop)
            yield _Tile(number, start - piece.start, stop - piece.start)
            start = stop
