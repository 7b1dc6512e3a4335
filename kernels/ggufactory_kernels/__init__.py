"""Quantizers that give llama.cpp's bytes, their inverses, what is lost between, and the table of tensor types.

Imports nothing of ggufactory.
"""

from ggufactory_kernels.dequantizer import dequantize
from ggufactory_kernels.quantizer import quantizable, quantize, quantize_into
from ggufactory_kernels.row_errors import square_errors
from ggufactory_kernels.types import TENSOR_TYPES, TensorType, tensor_type

__all__ = [
    "TENSOR_TYPES",
    "TensorType",
    "dequantize",
    "quantizable",
    "quantize",
    "quantize_into",
    "square_errors",
    "tensor_type",
]
