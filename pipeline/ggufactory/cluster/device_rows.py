"""The rows of a span on a GPU: sent there once, made every quantized type of the ladder from there, and
measured.

Rows that are held as their source stores them are decoded there, a tile at a time (`device_decoding.py`). A slice is
what is launched at once. While the GPU makes one, the one before comes back. Where the GPU is full, what it holds of
the span is given up, slices are halved, and at last the task fails with MemoryError and is tried again, here or
elsewhere: other workers fill a GPU for seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ggufactory.checkpoint.rows import Bytes
from ggufactory.cluster.descriptor import PieceWork
from ggufactory.cluster.device_decoding import send_encoded
from ggufactory.cluster.piece_errors import ErrorMeter, Packing
from ggufactory.cluster.piece_rows import HostRows, Importance, matrix_of, matrix_runs, refusal
from ggufactory.cluster.span_reader import HeldTile, SpanReader
from ggufactory.cluster.stage_clock import StageClock
from ggufactory.plan.device_memory import SLICE_WEIGHTS, SMALLEST_SLICE_WEIGHTS, SUMS_BYTES, is_made_on_device
from ggufactory_kernels.arrays import memory_errors
from ggufactory_kernels.cuda.courier import Courier
from ggufactory_kernels.cuda.device import Event
from ggufactory_kernels.cuda.row_errors import enqueue_row_errors
from ggufactory_kernels.cuda.tensors import dequantize_tensor, enqueue_quantize, no_fault, numbers, raise_fault
from ggufactory_kernels.quantizer import SOURCE_TYPES, importance_for
from ggufactory_kernels.types import TENSOR_TYPES, TensorType

if TYPE_CHECKING:
    import torch


class DeviceRows:
    """Of one span. Plain numbers are copied, which is not worth the way to a GPU: `host` makes them."""

    def __init__(
        self,
        pieces: Sequence[PieceWork],
        reader: SpanReader,
        importance: Mapping[str, Importance],
        meter: ErrorMeter,
        clock: StageClock,
        host: HostRows,
        courier: Courier,
    ) -> None:
        self._pieces = pieces
        self._reader = reader
        self._importance = importance
        self._meter = meter
        self._clock = clock
        self._host = host
        self._courier = courier
        self._sent: dict[int, _Sent] = {}
        self._weights: dict[int, torch.Tensor] = {}
        self._keeps = True
        self._slice = SLICE_WEIGHTS

    def make(self, packing: Packing, out: Bytes | None) -> float:
        """As PieceRows says."""
        if not is_made_on_device(packing.kind, self._pieces[packing.piece].converted_type):
            return self._host.make(packing, out)
        while True:
            measured: list[npt.NDArray[np.float64]] = []
            try:
                with memory_errors(), self._courier.work.current():
                    spent = self._make(packing, out, measured)
                for sums in measured:
                    self._meter.add(packing, sums)
                return spent
            except MemoryError:
                if self._slice // 2 < SMALLEST_SLICE_WEIGHTS:
                    raise
            # Not above: what an exception holds on to is still there.
            self._make_room()

    def _make_room(self) -> None:
        self._sent.clear()
        self._weights.clear()
        self._keeps = False
        self._slice //= 2
        self._courier.device.release()

    def _make(self, packing: Packing, out: Bytes | None, measured: list[npt.NDArray[np.float64]]) -> float:
        target = TENSOR_TYPES[packing.kind]
        weights = self._weights_there(packing.piece)
        self._check_importance(packing, target)
        spent = 0.0
        last: _Slice | None = None
        for start, stop in self._slices(self._pieces[packing.piece], weighted=weights is not None):
            x = self._weights_of(packing.piece, start, stop)
            began = time.monotonic()
            begun = self._begin(packing, start, stop, x, target, weights)
            spent += time.monotonic() - began
            if last is not None:
                spent += self._finish(last, target, out, measured)
            last = begun
        assert last is not None
        return spent + self._finish(last, target, out, measured)

    def _slices(self, piece: PieceWork, *, weighted: bool) -> Iterator[tuple[int, int]]:
        rows = max(self._slice // piece.columns, 1)
        for begin, end in matrix_runs(piece, 0, piece.rows) if weighted else [(0, piece.rows)]:
            for start in range(begin, end, rows):
                yield start, min(start + rows, end)

    def _begin(
        self, packing: Packing, start: int, stop: int, x: torch.Tensor, target: TensorType, weights: torch.Tensor | None
    ) -> _Slice:
        """Make rows [start, stop), and measure what they lose."""
        import torch

        piece, device = self._pieces[packing.piece], self._courier.device
        row_bytes = target.row_bytes(piece.columns)
        own = None if weights is None else weights[matrix_of(piece, start) - matrix_of(piece, 0)]
        searched = own if packing.weighted and target.uses_importance else None
        packed = device.empty((stop - start) * row_bytes)
        sums = device.empty((stop - start) * SUMS_BYTES)
        fault = no_fault(x.device)
        rows = packed.view(stop - start, row_bytes)
        enqueue_quantize(x, target, searched, device.launcher, rows, fault)
        enqueue_row_errors(x, rows, target, own, device.launcher, sums.view(torch.float64).view(-1, 2))
        return _Slice(
            packing.piece, start, stop, x, searched is not None, packed, sums, fault, self._courier.work.record()
        )

    def _finish(
        self, made: _Slice, target: TensorType, out: Bytes | None, measured: list[npt.NDArray[np.float64]]
    ) -> float:
        """Wait until it is made, and bring it back; the seconds of the first."""
        import torch

        began = time.monotonic()
        with self._clock.inside("quantize"):
            made.ready.synchronize()
        spent = time.monotonic() - began
        fault, sums = np.empty(1, np.int64), np.empty((made.stop - made.start, 2), np.float64)
        with self._clock.inside("from_device"):
            self._courier.fetch(made.fault.view(torch.uint8), fault.view(np.uint8), made.ready)
        try:
            raise_fault(int(fault[0]), made.x, target, weighted=made.weighted)
        except ValueError as error:
            # Of weights that were read as numbers, reading has said so.
            self._reader.check_encoded(made.piece, made.start, made.stop)
            raise refusal(self._pieces[made.piece], made.start, made.stop, target.name, error) from error
        with self._clock.inside("from_device"):
            self._courier.fetch(made.sums, sums.reshape(-1).view(np.uint8), made.ready)
            if out is not None:
                self._courier.fetch(made.packed, out[made.start : made.stop].reshape(-1), made.ready)
        measured.append(sums)
        return spent

    def _weights_of(self, number: int, start: int, stop: int) -> torch.Tensor:
        """Rows [start, stop) on the GPU as numbers [rows, columns]."""
        piece, rows = self._pieces[number], stop - start
        held = self._bytes_of(number, start, stop).view(rows, -1)
        if piece.converted_type in SOURCE_TYPES:
            return numbers(held, piece.converted_type)
        kind = TENSOR_TYPES[piece.converted_type]
        return dequantize_tensor(held, kind, piece.columns, self._courier.device.launcher)

    def _bytes_of(self, number: int, start: int, stop: int) -> torch.Tensor:
        """The same as they are held. What was sent stays there as long as there is room."""
        piece = self._pieces[number]
        row_bytes = TENSOR_TYPES[piece.converted_type].row_bytes(piece.columns)
        if not self._keeps:
            slice_ = self._courier.device.empty((stop - start) * row_bytes)
            for tile in self._reader.tiles(number, start, stop):
                part = tile.part(start, stop)
                self._send(part, piece, slice_[(part.start - start) * row_bytes : (part.stop - start) * row_bytes])
            return slice_
        if number not in self._sent:
            self._sent[number] = _Sent(self._courier.device.empty(piece.rows * row_bytes))
        sent = self._sent[number]
        if sent.rows < stop:
            for tile in self._reader.tiles(number, sent.rows, stop):
                self._send(tile, piece, sent.bytes[tile.start * row_bytes : tile.stop * row_bytes])
                sent.rows = tile.stop
        return sent.bytes[start * row_bytes : stop * row_bytes]

    def _send(self, tile: HeldTile, piece: PieceWork, to: torch.Tensor) -> None:
        """A tile, as soon as it has been read."""
        with self._clock.inside("to_device"):
            if isinstance(tile.held, np.ndarray):
                self._courier.send(tile.held.reshape(-1), to)
                return
            rows, at = numbers(to.view(tile.stop - tile.start, -1), piece.converted_type), 0
            for encoded in tile.held:
                send_encoded(encoded, rows[at : at + encoded.rows], self._courier)
                at += encoded.rows

    def _check_importance(self, packing: Packing, target: TensorType) -> None:
        piece = self._pieces[packing.piece]
        given = self._importance[piece.tensor] if packing.weighted else None
        try:
            for values in [None] if given is None else given[slice(*_matrices(piece))]:
                importance_for(target, values, piece.columns)
        except ValueError as error:
            raise refusal(piece, 0, piece.rows, target.name, error) from error

    def _weights_there(self, number: int) -> torch.Tensor | None:
        """The importance of the piece's matrices, float32 [matrices, columns] on the GPU: sent once."""
        piece = self._pieces[number]
        if piece.tensor not in self._importance:
            return None
        if number not in self._weights:
            own = np.ascontiguousarray(self._importance[piece.tensor][slice(*_matrices(piece))])
            there = self._courier.device.empty(own.nbytes)
            self._courier.send(own.reshape(-1).view(np.uint8), there)
            self._weights[number] = numbers(there.view(len(own), -1), "F32")
        return self._weights[number]


def _matrices(piece: PieceWork) -> tuple[int, int]:
    """The first of the matrices that the piece has rows of, and the one after the last."""
    return matrix_of(piece, 0), matrix_of(piece, piece.rows - 1) + 1


@dataclass
class _Sent:
    """A piece's rows, converted, on the GPU: those before `rows` are on their way or there."""

    bytes: torch.Tensor
    rows: int = 0


@dataclass(frozen=True, slots=True)
class _Slice:
    """Rows that are being made on the GPU. All of it stays there until that is done."""

    piece: int
    start: int
    stop: int
    x: torch.Tensor
    weighted: bool
    packed: torch.Tensor
    sums: torch.Tensor
    fault: torch.Tensor
    ready: Event
