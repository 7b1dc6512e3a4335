"""Reading the many single numbers of a packed checkpoint while a job is planned, in few requests."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.checkpoint.packing.number_types import NUMPY_TYPES, singles
from ggufactory.checkpoint.weight_tensor import WeightTensor

_GAP_BYTES = 16 << 10
"""Read rather than asked for again: safetensors' writers put small numbers beside each other."""
_NUMBER_BYTES = 8
CONCURRENT_READS = 32

Range = tuple[str, int, int]
"""A file, where to begin, where to stop."""


def read_scalars(checkpoint: Checkpoint, tensors: Iterable[WeightTensor]) -> dict[str, float]:
    """The one number that each of `tensors` is, by its name.

    Errors of the store; SourceChangedError when a file is no longer the one that was opened.
    """
    wanted = [(tensor.name, tensor.source) for tensor in tensors if tensor.source is not None]
    ranges = list(_merged(sorted((source.file, source.offset) for _, source in wanted), checkpoint))

    def fetch(span: Range) -> bytes:
        file, begin, end = span
        buffer = bytearray(end - begin)
        checkpoint.store.read_into(file, begin, memoryview(buffer), etag=checkpoint.files[file].etag)
        return bytes(buffer)

    with ThreadPoolExecutor(CONCURRENT_READS) as pool:
        held = list(pool.map(fetch, ranges))
    begins = [(file, begin) for file, begin, _ in ranges]

    def read(file: str, offset: int, buffer: memoryview) -> None:
        at = bisect_right(begins, (file, offset)) - 1
        first = offset - begins[at][1]
        buffer[:] = held[at][first : first + buffer.nbytes]

    found = {}
    for name, source in wanted:
        out = np.empty((1, NUMPY_TYPES[source.dtype].itemsize), np.uint8)
        source.read_rows(0, 1, out, read)
        found[name] = float(singles(out.view(NUMPY_TYPES[source.dtype]), source.dtype)[0, 0])
    return found


def _merged(starts: list[tuple[str, int]], checkpoint: Checkpoint) -> Iterator[Range]:
    """Ranges that hold the numbers at `starts` (sorted), near ones together."""
    current: Range | None = None
    for file, offset in starts:
        end = min(offset + _NUMBER_BYTES, checkpoint.files[file].size)
        if current is not None and current[0] == file and offset <= current[2] + _GAP_BYTES:
            current = file, current[1], end
        else:
            if current is not None:
                yield current
            current = file, offset, end
    if current is not None:
        yield current
