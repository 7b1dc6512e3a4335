"""Packed checkpoints: FP8, MXFP4, NVFP4, GPTQ, AWQ and compressed-tensors, decoded row by row as they are read.

`unpacked` finds the logical tensors behind those of the checkpoint. One file for each packing.
"""

from ggufactory.checkpoint.packing.quantization import Quantization, find_quantization
from ggufactory.checkpoint.packing.scalars import read_scalars
from ggufactory.checkpoint.packing.unpacked import unpacked

__all__ = ["Quantization", "find_quantization", "read_scalars", "unpacked"]
