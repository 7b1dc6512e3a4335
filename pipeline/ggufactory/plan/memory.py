"""What a worker needs to make spans, one after another.

It holds a span once, as the rows of the converter's file, and the next one, which it reads meanwhile; it makes
the parts in rung order, with at most `UPLOADS_IN_FLIGHT` finished ones still on their way; and it keeps a packed
piece for as long as a later rung uses the same type again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ggufactory.checkpoint.rows import SLAB_BYTES
from ggufactory_kernels.types import TENSOR_TYPES

SPANS_PER_TASK = 4
"""At most: what a task costs at its beginning and its end is divided by them, and so many a worker that dies loses."""
UPLOADS_IN_FLIGHT = 2
READERS = 4
TILE_BYTES = 8 << 20
"""What one reader fetches, converts and reorders at a time."""

WORKER_BASE_BYTES = 192 << 20
"""A worker process before its first span: interpreter, Ray, boto3, the kernels."""

_COPIES_OF_A_TILE = 3
"""As fetched, reordered, converted."""
_SLABS = 3
"""As fetched, half decoded, decoded."""


@dataclass(frozen=True, slots=True)
class PieceBytes:
    """One piece: its bytes as held, and on each rung its type, whether importance weighs it, and its bytes."""

    held: int
    held_type: str
    packed: tuple[tuple[str, bool, int], ...]
    unpacked_row: int
    """Of one row in single precision, which rows that are held quantized become before they are converted."""
    decoded_unit: int = 0
    """Of the rows that are read together, in single precision, where they are transposed or unpacked while read."""


def tile_rows(columns: int, unit: int) -> int:
    """Rows of a tile at most: some megabytes in single precision, but whole units of `unit` rows."""
    rows = max(TILE_BYTES // TENSOR_TYPES["F32"].row_bytes(columns), 1)
    return max(rows // unit, 1) * unit


def span_bytes(
    pieces: Sequence[PieceBytes], parts: Sequence[int], headers: int, ahead: Sequence[PieceBytes] = ()
) -> int:
    """Upper bound of what a worker needs at once while it makes a span.

    `parts` are its part sizes, header included, after the last `UPLOADS_IN_FLIGHT` of the span before it;
    `headers` are the bytes of all headers that it is given; `ahead` are the pieces of the span that is read meanwhile.
    """
    held = sum(p.held for p in (*pieces, *ahead))
    reading = _COPIES_OF_A_TILE * min(READERS * TILE_BYTES, held)
    if unit := max((p.decoded_unit for p in (*pieces, *ahead)), default=0):
        reading = READERS * (_COPIES_OF_A_TILE * max(TILE_BYTES, unit) + _SLABS * SLAB_BYTES)
    window = UPLOADS_IN_FLIGHT + 1
    in_flight = max((sum(parts[i : i + window]) for i in range(len(parts))), default=0)
    unpacking = max((max(p.unpacked_row, TILE_BYTES) for p in pieces if _is_unpacked(p)), default=0)
    return held + reading + unpacking + in_flight + headers + sum(_kept(p) for p in pieces)


def _is_unpacked(piece: PieceBytes) -> bool:
    return TENSOR_TYPES[piece.held_type].is_quantized and any(kind != piece.held_type for kind, _, _ in piece.packed)


def _kept(piece: PieceBytes) -> int:
    """Packed once, used on several rungs: kept between them."""
    uses = Counter(piece.packed)
    return sum(size for (kind, _, size), n in uses.items() if n > 1 and kind != piece.held_type)
