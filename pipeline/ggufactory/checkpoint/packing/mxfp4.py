"""MXFP4: blocks of 32 weights of four bits with a power of two, moved into ggml's blocks as they are.

gpt-oss stores them as X_blocks and X_scales (`repack_mxfp4` of llama.cpp's conversion/gpt_oss.py), compressed-tensors
as X.weight_packed and X.weight_scale (`repack_mxfp4_blocks` of conversion/base.py): the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ggufactory.checkpoint.checkpoint import SourceTensor
from ggufactory.checkpoint.json_object import clip
from ggufactory.checkpoint.packing.nibbles import reorder_nibbles
from ggufactory.checkpoint.packing.packed_rows import PackedRows
from ggufactory.checkpoint.packing.stored_matrix import StoredMatrix, as_matrix
from ggufactory.checkpoint.packing.unpacking import INCOMPLETE, Unpacking, check_dtype, check_shape
from ggufactory.checkpoint.rows import SLAB_BYTES, Bytes, ReadRange
from ggufactory.errors import InputError

BLOCK = 32
"""Weights of a block."""
_HALF = BLOCK // 2
"""Bytes of its weights."""
_POWERS = ("U8", "F8_E8M0")
"""Dtypes of the scales: powers of two, by their exponents."""


@dataclass(frozen=True, slots=True)
class Mxfp4Rows(PackedRows):
    """Rows of ggml's MXFP4 blocks: the exponent's byte, then the weights."""

    weights: StoredMatrix
    """Two in a byte."""
    scales: StoredMatrix
    """One byte for each block."""

    @property
    def companions(self) -> tuple[StoredMatrix, ...]:
        return (self.scales,)

    @property
    def dtype(self) -> str:
        return "MXFP4"

    @property
    def rows(self) -> int:
        return self.weights.rows

    @property
    def columns(self) -> int:
        return self.weights.columns * 2

    def part(self, first: int, rows: int) -> Mxfp4Rows:
        return replace(self, weights=self.weights.part(first, rows), scales=self.scales.part(first, rows))

    def read_rows(self, start: int, stop: int, out: Bytes, read: ReadRange) -> None:
        blocks = out.reshape(stop - start, self.scales.columns, 1 + _HALF)
        slab = max(SLAB_BYTES // self.weights.columns, 1)
        for at in range(start, stop, slab):
            end = min(at + slab, stop)
            held = blocks[at - start : end - start]
            held[:, :, 0] = self.scales.read(at, end, read)
            weights = self.weights.read(at, end, read)
            reorder_nibbles(weights.reshape(end - at, self.scales.columns, _HALF), held[:, :, 1:])


def unpack_blocks(unpacking: Unpacking) -> None:
    """Take gpt-oss's stacks of experts: X_blocks [..., rows, blocks, 16] with X_scales become X.weight.

    Its rows are outputs, unlike those of the plain X of a checkpoint that is not packed, which is transposed.
    """
    for blocks, base in unpacking.ending("_blocks"):
        with unpacking.noting_faults():
            check_dtype(blocks, ("U8",))
            scales = unpacking.take(base + "_scales", blocks, _POWERS)
            if len(blocks.shape) < 3 or blocks.shape[-1] != _HALF:
                raise InputError(
                    f"tensor {clip(blocks.name)} has the shape {list(blocks.shape)}; MXFP4 blocks end in {_HALF} bytes"
                )
            check_shape(scales, blocks.shape[:-1], "its blocks")
            shape = (*blocks.shape[:-2], blocks.shape[-2] * BLOCK)
            unpacking.put(blocks, base + ".weight", shape, _rows(blocks, scales, shape[-1]))


def unpack_compressed(unpacking: Unpacking) -> None:
    """Take compressed-tensors' matrices: X.weight_packed [rows, columns / 2] with X.weight_scale become X.weight."""
    for packed, base in unpacking.ending(".weight_packed"):
        with unpacking.noting_faults():
            check_dtype(packed, ("U8",))
            scales = unpacking.take(base + ".weight_scale", packed, _POWERS)
            unpacking.take_any(base + ".weight_shape", packed, ("I64", "I32"))
            columns = 2 * packed.shape[-1] if packed.shape else 0
            if len(packed.shape) < 2 or columns % BLOCK:
                raise InputError(
                    f"tensor {clip(packed.name)} has the shape {list(packed.shape)}; rows of MXFP4 weights are "
                    f"multiples of {_HALF} bytes",
                    fix=INCOMPLETE,
                )
            check_shape(scales, (*packed.shape[:-1], columns // BLOCK), "its weights")
            unpacking.put(packed, base + ".weight", (*packed.shape[:-1], columns), _rows(packed, scales, columns))


def _rows(weights: SourceTensor, scales: SourceTensor, columns: int) -> Mxfp4Rows:
    return Mxfp4Rows(as_matrix(weights, columns // 2), as_matrix(scales, columns // BLOCK))
