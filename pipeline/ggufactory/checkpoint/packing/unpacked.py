"""From the tensors of a checkpoint to the logical ones that they stand for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.checkpoint.json_object import clip
from ggufactory.checkpoint.packing.fp8 import FP8, Blocks, unpack_scaled
from ggufactory.checkpoint.packing.quantization import Quantization, find_quantization
from ggufactory.checkpoint.packing.unpacking import Unpacking
from ggufactory.checkpoint.weight_tensor import WeightTensor
from ggufactory.errors import InputError

MAX_BLOCK = 1 << 16


def unpacked(checkpoint: Checkpoint, config: Mapping[str, Any]) -> dict[str, WeightTensor]:
    """The logical tensors by name, in the order in which the checkpoint has their weights.

    `config`: config.json. Scales and whatever else belongs to packed weights are taken with them; what is left
    stands for itself. PlanError with everything that is wrong: a method that is not supported, missing scales,
    shapes that do not fit.
    """
    unpacking = Unpacking(checkpoint.tensors)
    quantization = find_quantization(checkpoint, config)
    if quantization is not None and quantization.method:
        method = METHODS.get(quantization.method)
        if method is None:
            raise InputError(
                f"{quantization.file}: weights are packed by the method {clip(quantization.method)}",
                fix=f"Supported are {', '.join(METHODS)}; give the checkpoint that it was made from",
            )
        method(unpacking, quantization)
    return unpacking.finish()


def _fp8(unpacking: Unpacking, quantization: Quantization) -> None:
    unpack_scaled(unpacking, FP8, _blocks(quantization, "weight_block_size"))


def _fbgemm_fp8(unpacking: Unpacking, quantization: Quantization) -> None:
    unpack_scaled(unpacking, FP8, None)


def _blocks(quantization: Quantization, key: str) -> Blocks:
    value = quantization.settings.get(key)
    if value is None:
        return None
    if isinstance(value, list) and len(value) == 2 and all(type(n) is int and 0 < n <= MAX_BLOCK for n in value):
        return value[0], value[1]
    raise quantization.fault(key, f"must be rows and columns, each up to {MAX_BLOCK:,},")


METHODS: Mapping[str, Callable[[Unpacking, Quantization], None]] = {
    "fp8": _fp8,
    "fbgemm_fp8": _fbgemm_fp8,
}
