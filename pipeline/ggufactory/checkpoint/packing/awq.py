"""AWQ: X.qweight [inputs, outputs / 8], X.qzeros [groups, outputs / 8] and X.scales [groups, outputs].

llama.cpp's converter does not read it. The definition is `dequantize_gemm` of AutoAWQ's awq/utils/packing_utils.py, but
with the product in single precision, as llama.cpp has it for GPTQ; AutoAWQ rounds it to half precision.
"""

from __future__ import annotations

from ggufactory.checkpoint.checkpoint import SourceTensor
from ggufactory.checkpoint.json_object import clip
from ggufactory.checkpoint.packing.column_ints import ColumnIntRows, IntLayout
from ggufactory.checkpoint.packing.number_types import FLOATS
from ggufactory.checkpoint.packing.stored_matrix import as_matrix
from ggufactory.checkpoint.packing.unpacking import INCOMPLETE, Unpacking, check_dtype, check_shape
from ggufactory.errors import InputError

BITS = 4
LAYOUT = IntLayout(BITS, along_inputs=False, order=(0, 4, 1, 5, 2, 6, 3, 7), zero_offset=0)


def unpack_awq(unpacking: Unpacking, group_size: int | None) -> None:
    """Take every X.qweight as X.weight. `group_size` None: all inputs."""
    for qweight, base in unpacking.ending(".qweight"):
        with unpacking.noting_faults():
            _unpack(unpacking, qweight, base, group_size)


def _unpack(unpacking: Unpacking, qweight: SourceTensor, base: str, group_size: int | None) -> None:
    check_dtype(qweight, ("I32",))
    qzeros = unpacking.take(base + ".qzeros", qweight, ("I32",))
    scales = unpacking.take(base + ".scales", qweight, FLOATS)
    if len(qweight.shape) != 2 or 0 in qweight.shape:
        raise InputError(
            f"tensor {clip(qweight.name)} has the shape {list(qweight.shape)}; wanted a matrix", fix=INCOMPLETE
        )
    inputs, words = qweight.shape
    outputs = words * LAYOUT.per_word
    size = group_size or inputs
    if inputs % size:
        raise InputError(f"tensor {clip(qweight.name)} has {inputs} inputs: no whole number of groups of {size}")
    weights = f"weights of {outputs} outputs and {inputs} inputs in groups of {size}"
    check_shape(scales, (inputs // size, outputs), weights)
    check_shape(qzeros, (inputs // size, words), weights)
    source = ColumnIntRows(
        weights=as_matrix(qweight, words),
        zeros=as_matrix(qzeros, words),
        scales=as_matrix(scales, outputs),
        groups=None,
        group_size=size,
        layout=LAYOUT,
        columns=inputs,
        rows=outputs,
    )
    unpacking.put(qweight, base + ".weight", (outputs, inputs), source)
