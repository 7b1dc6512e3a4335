"""Tile reductions and tile decodes in Triton, for torch tensors on a GPU: sums of squared activations, packed weights.

Importing this needs torch and triton. Under Triton's interpreter (TRITON_INTERPRET=1) the same code runs on the CPU.
"""

from ggufactory_kernels.triton_ops.column_ints import decode_column_ints
from ggufactory_kernels.triton_ops.column_squares import column_squares, column_squares_by_id
from ggufactory_kernels.triton_ops.four_bit_floats import decode_mxfp4, decode_nvfp4
from ggufactory_kernels.triton_ops.scaled_bytes import decode_scaled_bytes

__all__ = [
    "column_squares",
    "column_squares_by_id",
    "decode_column_ints",
    "decode_mxfp4",
    "decode_nvfp4",
    "decode_scaled_bytes",
]
