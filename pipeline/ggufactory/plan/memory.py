"""What a worker needs to make one span.

It holds the span once, as the rows of the converter's file; it makes the parts in rung order, with
at most `UPLOADS_IN_FLIGHT` finished ones still on their way; and it keeps a packed piece for as long
as a later rung uses the same type again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ggufactory.checkpoint.rows import SLAB_BYTES
from ggufactory_kernels.types import TENSOR_TYPES

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


def span_bytes(pieces: Sequence[PieceBytes], parts: Sequence[int], headers: int) -> int:
    """Upper bound of what one span needs at once.

    `parts` are its part sizes, header included; `headers` are the bytes of all headers that it is given.
    """
    held = sum(p.held for p in pieces)
    reading = _COPIES_OF_A_TILE * min(READERS * TILE_BYTES, held)
    if unit := max((p.decoded_unit for p in pieces), default=0):
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
