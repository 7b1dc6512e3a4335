"""GPTQ: X.qweight [inputs / n, outputs], X.qzeros [groups, outputs / n], X.scales and X.g_idx, the group of each input.

As `dequant_gptq` in `dequant_model` of llama.cpp's conversion/base.py, which follows GPTQModel.
"""

from __future__ import annotations

from ggufactory.checkpoint.checkpoint import SourceTensor
from ggufactory.checkpoint.json_object import clip
from ggufactory.checkpoint.packing.column_ints import ColumnIntRows, IntLayout
from ggufactory.checkpoint.packing.number_types import FLOATS
from ggufactory.checkpoint.packing.stored_matrix import as_matrix
from ggufactory.checkpoint.packing.unpacking import INCOMPLETE, Unpacking, check_dtype, check_shape
from ggufactory.errors import InputError


def layout(bits: int, *, zeros_from_one: bool) -> IntLayout:
    """`zeros_from_one`: zero points are stored less one, as the first version of the format does."""
    order = tuple(range(32 // bits))
    return IntLayout(bits, along_inputs=True, order=order, zero_offset=1 if zeros_from_one else 0)


def unpack_gptq(unpacking: Unpacking, layout: IntLayout, group_size: int | None) -> None:
    """Take every X.qweight as X.weight. `group_size` (None: all inputs) counts where there is no g_idx."""
    for qweight, base in unpacking.ending(".qweight"):
        with unpacking.noting_faults():
            _unpack(unpacking, qweight, base, layout, group_size)


def _unpack(unpacking: Unpacking, qweight: SourceTensor, base: str, layout: IntLayout, group_size: int | None) -> None:
    check_dtype(qweight, ("I32",))
    qzeros = unpacking.take(base + ".qzeros", qweight, ("I32",))
    scales = unpacking.take(base + ".scales", qweight, FLOATS)
    g_idx = unpacking.take_any(base + ".g_idx", qweight, ("I32", "I64"))
    if len(qweight.shape) != 2 or len(scales.shape) != 2 or 0 in qweight.shape:
        raise InputError(
            f"tensor {clip(qweight.name)} has the shape {list(qweight.shape)}, its scales {list(scales.shape)}; "
            "wanted matrices",
            fix=INCOMPLETE,
        )
    per_word, (words, outputs) = layout.per_word, qweight.shape
    inputs, groups = words * per_word, scales.shape[0]
    weights = f"{layout.bits}-bit weights of {outputs} outputs and {inputs} inputs"
    if g_idx is not None:
        check_shape(g_idx, (inputs,), weights)
    else:
        groups = -(-inputs // (group_size or inputs))
    check_shape(scales, (groups, outputs), weights)
    check_shape(qzeros, (groups, -(-outputs // per_word)), weights)
    source = ColumnIntRows(
        weights=as_matrix(qweight, outputs),
        zeros=as_matrix(qzeros, qzeros.shape[1]),
        scales=as_matrix(scales, outputs),
        groups=None if g_idx is None else as_matrix(g_idx, 1),
        group_size=group_size or inputs,
        layout=layout,
        columns=inputs,
        rows=outputs,
    )
    unpacking.put(qweight, base + ".weight", (outputs, inputs), source)
