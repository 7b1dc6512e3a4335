"""Quantizers that give llama.cpp's bytes, their inverses, and the table of tensor types.

Imports nothing of ggufactory.
"""

from ggufactory_kernels.dequantizer import dequantize
from ggufactory_kernels.quantizer import quantizable, quantize, quantize_into
from ggufactory_kernels.types import TENSOR_TYPES, TensorType, tensor_type

__all__ = ["TENSOR_TYPES", "TensorType", "dequantize", "quantizable", "quantize", "quantize_into", "tensor_type"]
