"""All rows of a matrix at once, from the checkpoint's own store."""

from __future__ import annotations

import numpy as np

from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.checkpoint.rows import Bytes, SourceRows
from ggufactory_kernels.types import TENSOR_TYPES


def read_whole(checkpoint: Checkpoint, source: SourceRows) -> Bytes:
    """[rows, bytes per row] of `source.dtype`. InputError for bytes that are no weights; what the store raises."""
    out = np.empty((source.rows, TENSOR_TYPES[source.dtype].row_bytes(source.columns)), np.uint8)

    def read(file: str, offset: int, buffer: memoryview) -> None:
        checkpoint.store.read_into(file, offset, buffer, etag=checkpoint.files[file].etag)

    source.read_rows(0, source.rows, out, read)
    return out
