"""FP8 and int8 weights beside their scales: by tensor, by row, or by block of rows and columns.

The weights of transformers' fine-grained FP8 (DeepSeek V3), of fbgemm, of ModelOpt and of compressed-tensors
differ in the names of their scales only. As `dequant_model` of llama.cpp's conversion/base.py reads them, which
knows neither fbgemm nor, where `quant_method` is "fp8", the suffix ".weight_scale".
"""

from __future__ import annotations

from math import prod

from ggufactory.checkpoint.checkpoint import SourceTensor
from ggufactory.checkpoint.json_object import clip
from ggufactory.checkpoint.packing.number_types import FLOATS
from ggufactory.checkpoint.packing.scaled_rows import ScaledRows, ScaleGrid
from ggufactory.checkpoint.packing.stored_matrix import as_matrix
from ggufactory.checkpoint.packing.unpacking import INCOMPLETE, Unpacking
from ggufactory.errors import InputError

FP8 = ("F8_E4M3", "F8_E5M2")
INT8 = ("I8",)
ACTIVATION_SCALES = (
    "activation_scale",
    ".input_scale",
    ".input_scale_ub",
    ".output_scale",
    ".k_scale",
    ".v_scale",
    ".kv_scale",
    ".q_scale",
    ".qscale_act",
)
"""Of inputs, and of keys and values in the cache: what is multiplied with the weights, not the weights."""
SCALES_OF_WEIGHTS = {
    "weight_scale": "weight",
    "_scale_inv": "",
    ".qscale_weight": ".weight",
}
"""How names of scales end, and how the name of their weights ends instead."""

Blocks = tuple[int, int] | None
"""Rows and columns that share a scale, where scales belong to blocks."""


def unpack_scaled(unpacking: Unpacking, dtypes: tuple[str, ...], blocks: Blocks) -> None:
    """Take every weight of one of `dtypes` that has scales."""
    unpacking.drop(*ACTIVATION_SCALES)
    for suffix, ending in SCALES_OF_WEIGHTS.items():
        for scales, base in unpacking.ending(suffix):
            with unpacking.noting_faults():
                _unpack(unpacking, base + ending, scales, dtypes, blocks)
    for tensor, _ in unpacking.ending(""):
        if tensor.dtype in dtypes:
            with unpacking.noting_faults():
                raise InputError(
                    f"tensor {clip(tensor.name)} is stored as {tensor.dtype}, but has no scales beside it",
                    fix=INCOMPLETE,
                )


def _unpack(unpacking: Unpacking, name: str, scales: SourceTensor, dtypes: tuple[str, ...], blocks: Blocks) -> None:
    unpacking.take(scales.name, scales, FLOATS)
    weights = unpacking.take(name, scales, dtypes)
    columns = weights.shape[-1] if weights.shape else 1
    rows = ScaledRows(as_matrix(weights, columns), scale_grid(weights, scales, blocks))
    unpacking.put(weights, name, weights.shape, rows)


def scale_grid(weights: SourceTensor, scales: SourceTensor, blocks: Blocks) -> ScaleGrid:
    """How `scales` lie over `weights`. InputError when their shapes do not fit.

    Without `blocks`, dimensions match from the first, as `dequant_simple` aligns them: scales of [rows], [rows, 1],
    or one for each matrix of a stack. A single scale is the whole tensor's, whatever `blocks` are.
    """
    shape, of = weights.shape or (1,), scales.shape
    if prod(of) == 1:
        rows = prod(shape[:-1])
        return ScaleGrid(as_matrix(scales, 1), rows, rows, shape[-1])
    if blocks is not None:
        wanted = (*shape[:-2], *(-(-size // block) for size, block in zip(shape[-2:], blocks, strict=False)))
        if len(shape) >= 2 and of == wanted:
            return ScaleGrid(as_matrix(scales, of[-1]), shape[-2], *blocks)
        raise _misfit(weights, scales, f"blocks of {list(blocks)} ask for {list(wanted)}")
    leading = of
    while leading and leading[-1] == 1:
        leading = leading[:-1]
    if len(of) <= len(shape) and len(leading) < len(shape) and leading == shape[: len(leading)]:
        rows = prod(shape[len(leading) : -1])
        return ScaleGrid(as_matrix(scales, 1), rows, rows, shape[-1])
    raise _misfit(weights, scales, "one for all, for each row or for each matrix were wanted")


def _misfit(weights: SourceTensor, scales: SourceTensor, wanted: str) -> InputError:
    return InputError(
        f"tensor {clip(scales.name)} has the shape {list(scales.shape)}, which does not fit weights of "
        f"{list(weights.shape)}: {wanted}",
        fix=INCOMPLETE,
    )
