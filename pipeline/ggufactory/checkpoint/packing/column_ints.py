"""Integers of a few bits whose rows are columns of what is stored: GPTQ's and AWQ's matrices.

Weights lie as [inputs, outputs], zero points and scales as [groups, outputs]; integers are packed in 32-bit words
along the inputs or along the outputs. A row of the model's matrix is an output: a column of all three.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ggufactory.checkpoint.packing.encoded_rows import INDEX_BYTES, ColumnInts, EncodedRows
from ggufactory.checkpoint.packing.integers import WORD_BITS, unpack_columns, unpack_rows
from ggufactory.checkpoint.packing.number_types import Array, Singles, overflow_ignored, singles
from ggufactory.checkpoint.packing.packed_rows import PackedRows
from ggufactory.checkpoint.packing.stored_matrix import StoredMatrix
from ggufactory.checkpoint.rows import SLAB_BYTES, Bytes, ReadRange
from ggufactory.errors import InputError

UNIT_BYTES = 64 << 20
"""Of the decoded rows for which the stored matrix is read through once. More take more memory; fewer have it read,
an eighth of their size or less, more often."""
_OUTPUTS_AT_ONCE = 64
_INPUTS_AT_ONCE = 1024
"""Decoded and then transposed while they are in a core's cache."""

Groups = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class IntLayout:
    """How a method packs its integers."""

    bits: int
    along_inputs: bool
    """Whether a word of weights holds a run of inputs of one output, or the other way round. Zero points are
    packed along the outputs always."""
    order: tuple[int, ...]
    """For each output of a word that holds several: which of the word's integers it is."""
    zero_offset: int
    """Added to stored zero points."""

    @property
    def per_word(self) -> int:
        return WORD_BITS // self.bits

    def along_outputs(self, words: Array, first: int, count: int) -> Singles:
        """Outputs [first, first + count) of `words` that hold runs of them."""
        per_word = self.per_word
        begin, end = first // per_word, -(-(first + count) // per_word)
        numbers = unpack_columns(words[:, begin:end], self.bits, self.order)
        return numbers[:, first - begin * per_word :][:, :count]


@dataclass(frozen=True, slots=True)
class ColumnIntRows(PackedRows):
    """Rows [first, first + rows) of the transposed matrix: (integer - zero point) * scale, in single precision.

    Any takes reading all of the stored matrix, however many are wanted.
    """

    weights: StoredMatrix
    zeros: StoredMatrix
    scales: StoredMatrix
    groups: StoredMatrix | None
    """The group of each input, one in a row. None: groups are runs of `group_size` inputs."""
    group_size: int
    layout: IntLayout
    columns: int
    """Inputs."""
    rows: int
    first: int = 0

    @property
    def companions(self) -> tuple[StoredMatrix, ...]:
        return (self.zeros, self.scales, *([self.groups] if self.groups else []))

    @property
    def dtype(self) -> str:
        return "F32"

    @property
    def unit(self) -> int:
        units = -(-self.rows * self.columns * 4 // UNIT_BYTES)
        return -(-self.rows // units)

    def part(self, first: int, rows: int) -> ColumnIntRows:
        assert first >= 0
        assert first + rows <= self.rows
        return replace(self, first=self.first + first, rows=rows)

    def read_rows(self, start: int, stop: int, out: Bytes, read: ReadRange) -> None:
        first, count, layout = self.first + start, stop - start, self.layout
        scales = np.concatenate(
            [singles(slab[:, first : first + count].copy(), self.scales.dtype) for slab in _slabs(self.scales, read)]
        )
        zeros = np.concatenate([layout.along_outputs(slab, first, count) for slab in _slabs(self.zeros, read)])
        zeros += np.float32(layout.zero_offset)
        groups = self._groups(read)
        numbers, done = out.view(np.float32), 0
        for slab in _slabs(self.weights, read):
            inputs = slice(done, done + len(slab) * (layout.per_word if layout.along_inputs else 1))
            self._decode(slab, first, groups[inputs], zeros, scales, numbers[:, inputs])
            done = inputs.stop

    def encoded_bytes(self, start: int, stop: int, taken: int) -> int:
        begin, end = self._words(start, stop)
        words = end - begin
        outputs, groups = words * self.layout.per_word, self.scales.rows
        weights = self.weights.rows * (outputs if self.layout.along_inputs else words)
        return 4 * (weights + groups * (words + outputs)) + INDEX_BYTES * (self.columns + taken)

    def read_encoded(self, start: int, stop: int, read: ReadRange) -> EncodedRows:
        """Whole words, and an order where the rows are not all of what these hold."""
        begin, end = self._words(start, stop)
        per_word = self.layout.per_word
        first, last = begin * per_word, min(end * per_word, self.scales.columns)
        columns = slice(first, last) if self.layout.along_inputs else slice(begin, end)

        def window(matrix: StoredMatrix, of: slice) -> Array:
            return np.concatenate([slab[:, of].copy() for slab in _slabs(matrix, read)])

        stored = ColumnInts(
            bits=self.layout.bits,
            along_inputs=self.layout.along_inputs,
            zero_offset=self.layout.zero_offset,
            scales=singles(window(self.scales, slice(first, last)), self.scales.dtype),
            zeros=window(self.zeros, slice(begin, end)),
            groups=self._groups(read),
            weights=window(self.weights, columns),
        )
        at = self.first + start - first
        return EncodedRows(stored).part(at, at + stop - start)

    def _words(self, start: int, stop: int) -> tuple[int, int]:
        """Those of zero points, whose outputs rows [start, stop) are: the first, and the one after the last."""
        per_word = self.layout.per_word
        return (self.first + start) // per_word, -(-(self.first + stop) // per_word)

    def _groups(self, read: ReadRange) -> Groups:
        """Of each input. InputError: not one of those that have scales."""
        if self.groups is None:
            return np.arange(self.columns, dtype=np.int64) // self.group_size
        groups: Groups = self.groups.read(0, self.groups.rows, read)[:, 0].astype(np.int64)
        wrong = np.flatnonzero((groups < 0) | (groups >= self.scales.rows))
        if len(wrong):
            raise InputError(
                f"{self.groups.file}: tensor {self.groups.tensor} puts input {wrong[0]} into group {groups[wrong[0]]}, "
                f"but {self.scales.tensor} has {self.scales.rows} groups",
                fix="The file is damaged; get it again",
            )
        return groups

    def _decode(self, slab: Array, first: int, groups: Groups, zeros: Singles, scales: Singles, out: Singles) -> None:
        """`slab` is a run of the stored weights, `out` [outputs, inputs] what it becomes; zero points and scales are
        of the same outputs."""
        layout = self.layout
        for at_output in range(0, len(out), _OUTPUTS_AT_ONCE):
            outputs = slice(at_output, min(at_output + _OUTPUTS_AT_ONCE, len(out)))
            for at_input in range(0, len(groups), _INPUTS_AT_ONCE):
                inputs = slice(at_input, min(at_input + _INPUTS_AT_ONCE, len(groups)))
                if layout.along_inputs:
                    words = slab[inputs.start // layout.per_word : inputs.stop // layout.per_word]
                    numbers = unpack_rows(words[:, first + outputs.start : first + outputs.stop], layout.bits)
                else:
                    count = outputs.stop - outputs.start
                    numbers = layout.along_outputs(slab[inputs], first + outputs.start, count)
                of_input = groups[inputs]
                # Differences are small integers, so that the product alone is rounded.
                numbers -= zeros[of_input, outputs]
                with overflow_ignored():
                    numbers *= scales[of_input, outputs]
                out[outputs, inputs] = numbers.T


def _slabs(matrix: StoredMatrix, read: ReadRange) -> Iterator[Array]:
    """All rows in runs of at most `SLAB_BYTES`, or one by one."""
    step = max(SLAB_BYTES // matrix.row_bytes, 1)
    for start in range(0, matrix.rows, step):
        yield matrix.read(start, min(start + step, matrix.rows), read)
