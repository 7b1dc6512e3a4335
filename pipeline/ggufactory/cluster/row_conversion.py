"""One tensor type to another, row by row: what a worker does with the rows that it holds.

Plain numbers go to the kernels as they are. Rows that are already quantized are copied, or become
single precision first, as in `llama_tensor_dequantize_impl` of llama.cpp's `src/llama-quant.cpp`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

import ggufactory_kernels as gk
from ggufactory.architectures.value_maps import VALUE_MAPS
from ggufactory.checkpoint.rows import Bytes, SourceRows
from ggufactory.errors import InputError
from ggufactory_kernels.quantizer import SOURCE_TYPES
from ggufactory_kernels.validation import first_invalid_block


def convert_rows(
    rows: Bytes,
    source_type: str,
    type: str,
    columns: int,
    out: Bytes,
    importance: npt.NDArray[np.float32] | None = None,
    threads: int = 1,
) -> None:
    """Make `rows` [rows, bytes per row] of `source_type` into `type` in `out` [rows, bytes per row].

    `importance`: float32 [columns]. ValueError as of `gk.quantize_into`.
    """
    if source_type in SOURCE_TYPES:
        gk.quantize_into(rows.data, source_type, type, columns, out.data, importance, threads)
    elif source_type == type:
        out[:] = rows
    else:
        weights = gk.dequantize(rows, source_type, columns, threads)
        gk.quantize_into(weights.data, "F32", type, columns, out.data, importance, threads)


def apply_value_map(name: str, rows: Bytes, type: str) -> Bytes:
    """`rows` of the plain `type` in single precision, changed by the map of that name. ValueError: not finite."""
    columns = rows.shape[1] // gk.TENSOR_TYPES[type].row_bytes(1)
    numbers = np.empty((len(rows), columns), np.float32)
    gk.quantize_into(rows.data, type, "F32", columns, numbers.data)
    VALUE_MAPS[name](numbers)
    return numbers.view(np.uint8)


def check_stored(rows: Bytes, source: SourceRows, first_row: int) -> None:
    """InputError when `rows` [rows, bytes per row] of a quantized source, from `first_row` on, are damaged.

    Weights in plain numbers are left to the kernels, which look at each.
    """
    if source.dtype in SOURCE_TYPES:
        return
    block = first_invalid_block(rows, source.dtype)
    if block is not None:
        row, column = divmod(block * gk.TENSOR_TYPES[source.dtype].block, source.columns)
        raise InputError(
            f"{source.file}: tensor {source.tensor}, row {first_row + row}, column {column}: "
            f"this {source.dtype} block is damaged: its scale is not a finite number"
        )
