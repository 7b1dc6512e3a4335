"""compressed-tensors: several packings under one method, told apart by `format`.

Source of what each means: `dequant_model` and `prepare_tensors` of llama.cpp's conversion/base.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ggufactory.checkpoint.json_object import clip
from ggufactory.checkpoint.packing import mxfp4, nvfp4
from ggufactory.checkpoint.packing.compressed_int import unpack_packed
from ggufactory.checkpoint.packing.fp8 import ACTIVATION_SCALES, FP8, INT8, unpack_scaled
from ggufactory.checkpoint.packing.quantization import MAX_SIZE, Quantization
from ggufactory.checkpoint.packing.unpacking import Unpacking
from ggufactory.errors import InputError

_NVFP4 = "nvfp4-pack-quantized"
_SCALED = {"float-quantized": "float", "int-quantized": "int", "naive-quantized": ""}
"""Formats of one byte for each weight, and the type of number; of the last the configuration says it."""
FORMATS = (*_SCALED, "pack-quantized", _NVFP4, "mxfp4-pack-quantized")
_MOST_BITS = 8


def unpack_compressed_tensors(unpacking: Unpacking, quantization: Quantization) -> None:
    """Take what the configuration says is there. InputError: a format or scheme that is not supported."""
    groups = quantization.mapping("config_groups")
    form = quantization.settings.get("format")
    if form == _NVFP4 or (form == "mixed-precision" and _formats(groups) == {_NVFP4}):
        nvfp4.unpack_compressed(unpacking)
        unpacking.drop(*ACTIVATION_SCALES)
        return
    if form not in FORMATS:
        raise quantization.fault("format", f"must be one of {', '.join(FORMATS)}")
    if len(groups) != 1:
        raise quantization.fault("config_groups", "must be one group")
    group = quantization.part("config_groups", next(iter(groups.values())))
    weights = group.part("weights", group.settings.get("weights"))
    if form in _SCALED:
        _unpack_scaled(unpacking, weights, _SCALED[form])
    elif form == "pack-quantized":
        _unpack_packed(unpacking, weights)
    else:
        mxfp4.unpack_compressed(unpacking)
    unpacking.drop(*ACTIVATION_SCALES)


def _formats(groups: Mapping[str, Any]) -> set[str]:
    return {str(group.get("format")) for group in groups.values() if isinstance(group, dict)}


def _unpack_scaled(unpacking: Unpacking, weights: Quantization, number: str) -> None:
    number = number or str(weights.settings.get("type"))
    if number not in ("float", "int"):
        raise weights.fault("type", "must be float or int")
    if weights.settings.get("num_bits", _MOST_BITS) != _MOST_BITS:
        raise weights.fault("num_bits", f"must be {_MOST_BITS}")
    if weights.settings.get("strategy") not in ("tensor", "channel", "block"):
        raise weights.fault("strategy", "must be tensor, channel or block")
    for tensor, _ in unpacking.ending(".weight_zero_point"):
        with unpacking.noting_faults():
            raise InputError(f"tensor {clip(tensor.name)}: zero points of 8-bit weights are not supported")
    blocks = weights.pair("block_structure")
    unpack_scaled(unpacking, FP8 if number == "float" else INT8, blocks)


def _unpack_packed(unpacking: Unpacking, weights: Quantization) -> None:
    if weights.settings.get("type", "int") != "int":
        raise weights.fault("type", "must be int")
    strategy = weights.settings.get("strategy")
    if strategy not in ("group", "channel"):
        raise weights.fault("strategy", "must be group or channel")
    bits = weights.integer("num_bits", most=_MOST_BITS)
    size = weights.integer("group_size", most=MAX_SIZE) if strategy == "group" else None
    unpack_packed(unpacking, bits, size)
