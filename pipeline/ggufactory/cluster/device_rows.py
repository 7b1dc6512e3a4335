"""The rows of a span on a GPU: sent there once, and made every quantized type of the ladder from there.

A slice is what is launched at once. While the GPU makes one, the one before comes back. Where the GPU is full,
what it holds of the span is given up, slices are halved, and at last the task fails with MemoryError and is
tried again, here or elsewhere: other workers fill a GPU for seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ggufactory.checkpoint.rows import Bytes
from ggufactory.cluster.descriptor import PieceWork
from ggufactory.cluster.piece_rows import HostRows, Importance, matrix_of, matrix_runs, refusal
from ggufactory.cluster.span_reader import SpanReader
from ggufactory.cluster.stage_clock import StageClock
from ggufactory.plan.device_memory import SLICE_WEIGHTS, SMALLEST_SLICE_WEIGHTS, is_made_on_device
from ggufactory_kernels.arrays import memory_errors
from ggufactory_kernels.cuda.courier import Courier
from ggufactory_kernels.cuda.device import Event
from ggufactory_kernels.cuda.tensors import dequantize_tensor, enqueue_quantize, no_fault, numbers, raise_fault
from ggufactory_kernels.quantizer import SOURCE_TYPES, importance_for
from ggufactory_kernels.types import TENSOR_TYPES, TensorType

if TYPE_CHECKING:
    import torch


class DeviceRows:
    """Of one span. Plain numbers are copied, which is not worth the way to a GPU: `host` makes them."""

    def __init__(
        self, pieces: Sequence[PieceWork], reader: SpanReader, clock: StageClock, host: HostRows, courier: Courier
    ) -> None:
        self._pieces = pieces
        self._reader = reader
        self._clock = clock
        self._host = host
        self._courier = courier
        self._sent: dict[int, _Sent] = {}
        self._weights: dict[int, torch.Tensor] = {}
        self._keeps = True
        self._slice = SLICE_WEIGHTS

    def make(self, number: int, kind: str, importance: Importance | None, out: Bytes) -> float:
        """As PieceRows says."""
        if not is_made_on_device(kind, self._pieces[number].converted_type):
            return self._host.make(number, kind, importance, out)
        while True:
            try:
                with memory_errors(), self._courier.work.current():
                    return self._make(number, TENSOR_TYPES[kind], importance, out)
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

    def _make(self, number: int, target: TensorType, importance: Importance | None, out: Bytes) -> float:
        weights = self._importance(number, target, importance)
        spent = 0.0
        last: _Slice | None = None
        for start, stop in self._slices(self._pieces[number], weighted=weights is not None):
            x = self._weights_of(number, start, stop)
            began = time.monotonic()
            begun = self._begin(number, start, stop, x, target, weights)
            spent += time.monotonic() - began
            if last is not None:
                spent += self._finish(last, target, out)
            last = begun
        assert last is not None
        return spent + self._finish(last, target, out)

    def _slices(self, piece: PieceWork, *, weighted: bool) -> Iterator[tuple[int, int]]:
        rows = max(self._slice // piece.columns, 1)
        for begin, end in matrix_runs(piece, 0, piece.rows) if weighted else [(0, piece.rows)]:
            for start in range(begin, end, rows):
                yield start, min(start + rows, end)

    def _begin(
        self, number: int, start: int, stop: int, x: torch.Tensor, target: TensorType, weights: torch.Tensor | None
    ) -> _Slice:
        piece, device = self._pieces[number], self._courier.device
        row_bytes = target.row_bytes(piece.columns)
        own = None if weights is None else weights[matrix_of(piece, start) - matrix_of(piece, 0)]
        packed = device.empty((stop - start) * row_bytes)
        fault = no_fault(x.device)
        enqueue_quantize(x, target, own, device.launcher, packed.view(stop - start, row_bytes), fault)
        return _Slice(piece, start, stop, x, own is not None, packed, fault, self._courier.work.record())

    def _finish(self, made: _Slice, target: TensorType, out: Bytes) -> float:
        """Wait until it is made, and bring it back; the seconds of the first."""
        import torch

        began = time.monotonic()
        with self._clock.inside("quantize"):
            made.ready.synchronize()
        spent = time.monotonic() - began
        fault = np.empty(1, np.int64)
        with self._clock.inside("from_device"):
            self._courier.fetch(made.fault.view(torch.uint8), fault.view(np.uint8), made.ready)
        try:
            raise_fault(int(fault[0]), made.x, target, weighted=made.weighted)
        except ValueError as error:
            raise refusal(made.piece, made.start, made.stop, target.name, error) from error
        with self._clock.inside("from_device"):
            self._courier.fetch(made.packed, out[made.start : made.stop].reshape(-1), made.ready)
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
        row_bytes = self._reader.held[number].shape[1]
        if not self._keeps:
            slice_ = self._courier.device.empty((stop - start) * row_bytes)
            self._send(number, start, stop, slice_)
            return slice_
        if number not in self._sent:
            self._sent[number] = _Sent(self._courier.device.empty(self._reader.held[number].nbytes))
        sent = self._sent[number]
        if sent.rows < stop:
            self._send(number, sent.rows, stop, sent.bytes[sent.rows * row_bytes : stop * row_bytes])
            sent.rows = stop
        return sent.bytes[start * row_bytes : stop * row_bytes]

    def _send(self, number: int, start: int, stop: int, to: torch.Tensor) -> None:
        """Each tile as soon as it has been read."""
        held = self._reader.held[number]
        for tile in self._reader.tiles(number, start, stop):
            rows = held[tile.start : tile.stop].reshape(-1)
            place = (tile.start - start) * held.shape[1]
            with self._clock.inside("to_device"):
                self._courier.send(rows, to[place : place + rows.size])

    def _importance(self, number: int, target: TensorType, importance: Importance | None) -> torch.Tensor | None:
        """Of the piece's matrices, float32 [matrices, columns] on the GPU: sent once."""
        piece = self._pieces[number]
        try:
            if importance is None or not target.uses_importance:
                importance_for(target, importance[0] if importance is not None else None, piece.columns)
                return None
            if number not in self._weights:
                own = importance[matrix_of(piece, 0) : matrix_of(piece, piece.rows - 1) + 1]
                for values in own:
                    importance_for(target, values, piece.columns)
                there = self._courier.device.empty(own.nbytes)
                self._courier.send(np.ascontiguousarray(own).reshape(-1).view(np.uint8), there)
                self._weights[number] = numbers(there.view(len(own), -1), "F32")
        except ValueError as error:
            raise refusal(piece, 0, piece.rows, target.name, error) from error
        return self._weights[number]


@dataclass
class _Sent:
    """A piece's rows as they are held, on the GPU: those before `rows` are on their way or there."""

    bytes: torch.Tensor
    rows: int = 0


@dataclass(frozen=True, slots=True)
class _Slice:
    """Rows that are being made on the GPU. `x` and `packed` stay there until that is done."""

    piece: PieceWork
    start: int
    stop: int
    x: torch.Tensor
    weighted: bool
    packed: torch.Tensor
    fault: torch.Tensor
    ready: Event
