"""Reading a run of rows of a piece: as rows of the converter's file, or as the checkpoint stores them.

Source ranges are fetched, reordered where the architecture asks for it, and rounded to the converted type; rows that a
GPU decodes are fetched and no more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate

import numpy as np

import ggufactory_kernels as gk
from ggufactory.checkpoint.packing.encoded_rows import EncodedRows, EncodedSource
from ggufactory.checkpoint.rows import Bytes, SourceRows
from ggufactory.cluster.descriptor import PieceWork
from ggufactory.cluster.row_conversion import apply_value_map, check_stored
from ggufactory.cluster.stage_clock import StageClock
from ggufactory.errors import DamagedSourceError, InputError
from ggufactory.storage.protocol import Store


class TileReader:
    """Reads from `store`, of the objects whose tags `etags` holds by name. Safe in several threads.

    What is read raises what the store raises, and DamagedSourceError for bytes that are no weights.
    """

    def __init__(self, store: Store, etags: Mapping[str, str], clock: StageClock) -> None:
        self._store = store
        self._etags = etags
        self._clock = clock

    def read(self, piece: PieceWork, start: int, stop: int, out: Bytes) -> int:
        """The piece's rows [start, stop) into `out` [rows, bytes per row], converted; the bytes that were fetched."""
        start, stop = piece.start + start, piece.start + stop
        if piece.values is not None:
            out[:] = np.frombuffer(piece.values, np.uint8).reshape(-1, out.shape[1])[start:stop]
            return 0
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

    def read_encoded(self, piece: PieceWork, start: int, stop: int) -> tuple[tuple[EncodedRows, ...], int] | None:
        """The same rows, one after the other, as their sources store them, of which all are `EncodedSource`; and the
        bytes that were fetched.

        None, and nothing is read, where that would take more memory than the converted rows, or where rows of several
        sources come in an order of their own.
        """
        row_bytes = gk.TENSOR_TYPES[piece.converted_type].row_bytes(piece.columns)
        room = (stop - start) * row_bytes
        start, stop = piece.start + start, piece.start + stop
        rows = None if piece.row_map is None else piece.row_map.source_rows(start, stop)
        if rows is not None:
            start, stop = int(rows.min()), int(rows.max()) + 1
        runs = list(_stacked(piece, start, stop))
        if rows is not None and len(runs) > 1:
            return None
        found, fetched = [], 0
        for source, begin, end in runs:
            assert isinstance(source, EncodedSource)
            room -= source.encoded_bytes(begin, end, end - begin if rows is None else len(rows))
        if room < 0:
            return None
        for source, begin, end in runs:
            assert isinstance(source, EncodedSource)
            with self._reading(source, begin, end) as read:
                encoded = source.read_encoded(begin, end, read)
            found.append(encoded if rows is None else encoded.take(rows - start))
            fetched += read.counted
        return tuple(found), fetched

    def _read_rows(self, piece: PieceWork, start: int, stop: int, out: Bytes) -> int:
        """Rows [start, stop) of the stacked sources into `out`, in the converted type."""
        fetched = at = 0
        for source, begin, end in _stacked(piece, start, stop):
            fetched += self._read_source(source, begin, end, piece, out[at : at + end - begin])
            at += end - begin
        return fetched

    def _read_source(self, source: SourceRows, start: int, stop: int, piece: PieceWork, out: Bytes) -> int:
        same = source.dtype == piece.converted_type and piece.value_map is None
        row_bytes = gk.TENSOR_TYPES[source.dtype].row_bytes(source.columns)
        rows = out if same else np.empty((stop - start, row_bytes), np.uint8)
        with self._reading(source, start, stop) as read:
            source.read_rows(start, stop, rows, read)
            check_stored(rows, source, start)
            if not same:
                _convert(rows, source, piece, out)
        return read.counted

    @contextmanager
    def _reading(self, source: SourceRows, start: int, stop: int) -> Iterator[_Reads]:
        """Around the reading of rows [start, stop): what is wrong with them is DamagedSourceError and names them."""
        reads = _Reads(self._store, self._etags, self._clock)
        try:
            yield reads
        except InputError as error:
            if error is reads.refusal:  # the store's word, about the request and not about the weights
                raise
            raise DamagedSourceError(error.message, fix=error.fix) from error
        except ValueError as error:
            where = f"{source.file}: tensor {source.tensor}, rows {start} to {stop}"
            raise DamagedSourceError(f"{where}: {error}") from error


class _Reads:
    """A `ReadRange` that knows how much it has fetched, and what the store refused."""

    def __init__(self, store: Store, etags: Mapping[str, str], clock: StageClock) -> None:
        self._store = store
        self._etags = etags
        self._clock = clock
        self.counted = 0
        self.refusal: InputError | None = None

    def __call__(self, file: str, offset: int, buffer: memoryview) -> None:
        try:
            with self._clock.inside("read"):
                self._store.read_into(file, offset, buffer, etag=self._etags[file])
        except InputError as error:
            self.refusal = error
            raise
        self.counted += buffer.nbytes


def _stacked(piece: PieceWork, start: int, stop: int) -> Iterator[tuple[SourceRows, int, int]]:
    """Which rows of which sources are rows [start, stop) of the tensor, before any reordering."""
    firsts = accumulate((s.rows for s in piece.sources), initial=piece.skipped_rows)
    for source, first in zip(piece.sources, firsts, strict=False):
        begin, end = max(start, first), min(stop, first + source.rows)
        if begin < end:
            yield source, begin - first, end - first


def _convert(rows: Bytes, source: SourceRows, piece: PieceWork, out: Bytes) -> None:
    kind = source.dtype
    if piece.value_map is not None:
        rows, kind = apply_value_map(piece.value_map, rows, kind), "F32"
    gk.quantize_into(rows.data, kind, piece.converted_type, source.columns, out.data)
