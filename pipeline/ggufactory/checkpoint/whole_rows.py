"""All rows of a matrix at once."""

from __future__ import annotations

import numpy as np

from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.checkpoint.rows import Bytes, ReadRange, SourceRows
from ggufactory_kernels.types import TENSOR_TYPES


def read_whole(source: SourceRows, read: ReadRange) -> Bytes:
    """[rows, bytes per row] of `source.dtype`. InputError for bytes that are no weights; what `read` raises."""
    out = np.empty((source.rows, TENSOR_TYPES[source.dtype].row_bytes(source.columns)), np.uint8)
    source.read_rows(0, source.rows, out, read)
    return out


def reader_of(checkpoint: Checkpoint) -> ReadRange:
    """Reading from the checkpoint's own store, of the files that were there when it was opened."""

    def read(file: str, offset: int, buffer: memoryview) -> None:
        checkpoint.store.read_into(file, offset, buffer, etag=checkpoint.files[file].etag)

    return read
