"""What a worker needs of a GPU's memory, and of its node's because of the GPU.

It holds the rows of the span that are quantized, once, and beside them the slice that is being made and measured,
and the one that is on its way back, with all that belongs to them; and, where it decodes rows, a tile of them as the
source stores it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ggufactory_kernels.types import TENSOR_TYPES

SLICE_WEIGHTS = 8 << 20
"""What is launched at once: 32,768 threads of super-blocks."""
SMALLEST_SLICE_WEIGHTS = 1 << 20
"""Below it a GPU that is full is left to others."""

BASE_BYTES = 2560 << 20
"""A worker's context, its kernels, and the stacks that the driver keeps for as many threads as the GPU runs at
once: 6 kB each, 1.6 GB on an H100. Counted, not measured."""
HOST_BYTES = 1536 << 20
"""Of main memory, beyond what a worker without a GPU needs: PyTorch, the driver, 32 MiB of pinned buffers. Assumed,
not measured."""

SUMS_BYTES = 16
"""Of a row: two sums in double precision, of what it loses and of what it was."""

_SLICES = 2
_ROUNDING = 2 << 20
"""PyTorch takes memory in such steps."""


@dataclass(frozen=True, slots=True)
class DevicePiece:
    """One piece, and the types that it is made on all rungs."""

    rows: int
    columns: int
    matrices: int
    """At most so many does it touch: each has importance of its own."""
    held_type: str
    kinds: frozenset[str]
    decoded_rows: int = 0
    """As many at most are sent as the source stores them, and decoded together. That takes no more bytes than they
    take in `held_type`: what would take more is decoded before it is sent."""


def is_made_on_device(kind: str, held_type: str) -> bool:
    """Whether a GPU makes `held_type` into `kind`; the CPU copies, and makes plain numbers."""
    return TENSOR_TYPES[kind].is_quantized and kind != held_type


def task_bytes(worker_bytes: int, gpu_share: float) -> int:
    """What a task asks of its node's memory: `worker_bytes`, and more where it has a part of a GPU."""
    return worker_bytes + (HOST_BYTES if gpu_share else 0)


def device_bytes(pieces: Sequence[DevicePiece]) -> int:
    """Upper bound of what one span takes of a GPU, `BASE_BYTES` apart."""
    held = slices = encoded = 0
    for piece in pieces:
        made = [kind for kind in piece.kinds if is_made_on_device(kind, piece.held_type)]
        if made:
            row = TENSOR_TYPES[piece.held_type].row_bytes(piece.columns)
            held += _rounded(piece.rows * row) + _rounded(4 * piece.matrices * piece.columns)
            slices = max(slices, _slice_bytes(piece, made))
            encoded = max(encoded, _rounded(min(piece.decoded_rows, piece.rows) * row))
    return held + encoded + _SLICES * slices


def _slice_bytes(piece: DevicePiece, made: Sequence[str]) -> int:
    """Its blocks, the mean square and the errors of each row, the weights in single precision where they are held
    quantized, and those of the blocks."""
    rows = min(max(SLICE_WEIGHTS // piece.columns, 1), piece.rows)
    packed = _rounded(rows * max(TENSOR_TYPES[kind].row_bytes(piece.columns) for kind in made))
    unpacked = _rounded(4 * rows * piece.columns) if TENSOR_TYPES[piece.held_type].is_quantized else 0
    measured = _rounded(4 * rows * piece.columns) + _rounded(SUMS_BYTES * rows)
    return packed + unpacked + measured + _rounded(4 * rows)


def _rounded(size: int) -> int:
    return -(-size // _ROUNDING) * _ROUNDING
