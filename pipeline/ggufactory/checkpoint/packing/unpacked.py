"""From the tensors of a checkpoint to the logical ones that they stand for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.checkpoint.json_object import clip
from ggufactory.checkpoint.packing import awq, gptq, mxfp4, nvfp4
from ggufactory.checkpoint.packing.compressed_tensors import unpack_compressed_tensors
from ggufactory.checkpoint.packing.fp8 import FP8, unpack_scaled
from ggufactory.checkpoint.packing.quantization import Quantization, find_quantization
from ggufactory.checkpoint.packing.unpacking import Unpacking
from ggufactory.checkpoint.weight_tensor import WeightTensor
from ggufactory.errors import InputError


def unpacked(checkpoint: Checkpoint, config: Mapping[str, Any]) -> dict[str, WeightTensor]:
    """The logical tensors by name, in the order in which the checkpoint has their weights.

    `config`: config.json. Scales and whatever else belongs to packed weights are taken with them; what is left
    stands for itself. PlanError with everything that is wrong: scales that are missing, shapes that do not fit;
    InputError for a packing that is not supported.
    """
    unpacking = Unpacking(checkpoint.tensors)
    quantization = find_quantization(checkpoint, config)
    if quantization is not None:
        _unpack(unpacking, quantization)
    return unpacking.finish()


def _unpack(unpacking: Unpacking, quantization: Quantization) -> None:
    if quantization.has_nvfp4():
        nvfp4.unpack_modelopt(unpacking)
    method = METHODS.get(quantization.method)
    if method is not None:
        method(unpacking, quantization)
    elif quantization.method:
        raise InputError(
            f"{quantization.file}: weights are packed by the method {clip(quantization.method)}",
            fix=f"Supported are {', '.join(METHODS)}; give the checkpoint that this one was made from",
        )


def _fp8(unpacking: Unpacking, quantization: Quantization) -> None:
    unpack_scaled(unpacking, FP8, quantization.pair("weight_block_size"))


def _fbgemm_fp8(unpacking: Unpacking, _: Quantization) -> None:
    unpack_scaled(unpacking, FP8, None)


def _modelopt(unpacking: Unpacking, _: Quantization) -> None:
    """FP8 only here: what is NVFP4 was taken before. Scales whose weights are elsewhere go, as the reference has it."""
    for scales, base in unpacking.ending(".weight_scale"):
        if base + ".weight" not in unpacking.tensors:
            unpacking.leave_out(scales)
    unpack_scaled(unpacking, FP8, None)


def _mxfp4(unpacking: Unpacking, _: Quantization) -> None:
    mxfp4.unpack_blocks(unpacking)


def _gptq(unpacking: Unpacking, quantization: Quantization) -> None:
    form = quantization.settings.get("checkpoint_format") or "gptq"
    if form not in ("gptq", "gptq_v2"):
        raise quantization.fault("checkpoint_format", "must be gptq or gptq_v2")
    bits = quantization.integer("bits", most=8)
    if bits not in (2, 4, 8):
        raise quantization.fault("bits", "must be 2, 4 or 8")
    layout = gptq.layout(bits, zeros_from_one=form == "gptq")
    gptq.unpack_gptq(unpacking, layout, quantization.group_size("group_size"))


def _awq(unpacking: Unpacking, quantization: Quantization) -> None:
    if str(quantization.settings.get("version", "gemm")).lower() != "gemm":
        raise quantization.fault("version", "must be gemm")
    if quantization.integer("bits", "w_bit", default=awq.BITS, most=8) != awq.BITS:
        raise quantization.fault("bits", f"must be {awq.BITS}")
    awq.unpack_awq(unpacking, quantization.group_size("group_size", "q_group_size"))


METHODS: Mapping[str, Callable[[Unpacking, Quantization], None]] = {
    "fp8": _fp8,
    "fbgemm_fp8": _fbgemm_fp8,
    "modelopt": _modelopt,
    "compressed-tensors": unpack_compressed_tensors,
    "mxfp4": _mxfp4,
    "gptq": _gptq,
    "awq": _awq,
}
