"""What a conversion does to the layout of tensors: each rule of a family names one of these.

A transform takes the tensors of the checkpoint that a rule matches, whose shapes have been checked, and says
which rows make up the output. Sizes are given by name; what they are comes from config.json.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import Protocol

from ggufactory.architectures.model import RowMap
from ggufactory.architectures.row_maps import EveryNth, RopePermutation
from ggufactory.checkpoint.rows import SourceRows, StoredRows
from ggufactory.checkpoint.transposed import TransposedRows
from ggufactory.checkpoint.weight_tensor import WeightTensor
from ggufactory.errors import InputError
from ggufactory_kernels.types import TENSOR_TYPES

Sizes = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Placed:
    """The rows of one output tensor: `sources` stacked, reordered by `row_map`."""

    shape: tuple[int, ...]
    sources: tuple[SourceRows, ...]
    row_map: RowMap | None = None


class Transform(Protocol):
    def place(self, tensors: Sequence[WeightTensor], sizes: Sizes) -> Placed:
        """`tensors`: one, or of a stack of experts one each."""

    def for_bias(self) -> Transform:
        """What happens to the bias beside the weight."""


@dataclass(frozen=True, slots=True)
class AsIs:
    """Kept. Of several tensors, a stack: a matrix of experts more has one dimension more."""

    def place(self, tensors: Sequence[WeightTensor], sizes: Sizes) -> Placed:
        (first, *more) = tensors
        shape = (len(tensors), *first.shape) if more else first.shape
        return Placed(shape, tuple(rows_of(t) for t in tensors))

    def for_bias(self) -> AsIs:
        return self


@dataclass(frozen=True, slots=True)
class Stacked:
    """A stack, of one tensor too."""

    def place(self, tensors: Sequence[WeightTensor], sizes: Sizes) -> Placed:
        return Placed((len(tensors), *tensors[0].shape), tuple(rows_of(t) for t in tensors))

    def for_bias(self) -> Stacked:
        return self


@dataclass(frozen=True, slots=True)
class RopePairs:
    """Query and key rows of each of `heads` heads from halves to pairs."""

    heads: str

    def place(self, tensors: Sequence[WeightTensor], sizes: Sizes) -> Placed:
        (tensor,) = tensors
        head_rows = tensor.shape[0] // sizes[self.heads]
        if len(tensor.shape) == 1:
            return Placed(
                tensor.shape, (stored(tensor).single_column(),), RopePermutation(head_rows, pieces=tensor.shape[0])
            )
        return Placed(tensor.shape, (rows_of(tensor),), RopePermutation(head_rows))

    def for_bias(self) -> RopePairs:
        return self


@dataclass(frozen=True, slots=True)
class RowsOf:
    """Part number `part` of the rows of each matrix, which are made of the `parts`, in order.

    `matrices`: how many matrices a tensor of two dimensions holds, one after the other; they become a
    dimension of their own.
    """

    part: int
    parts: tuple[str, ...]
    matrices: str | None = None

    def place(self, tensors: Sequence[WeightTensor], sizes: Sizes) -> Placed:
        (tensor,) = tensors
        first, count, whole = _span_of(self.part, self.parts, sizes)
        if len(tensor.shape) == 1:
            return Placed((count,), (stored(tensor).run(first, count),))
        outer = (sizes[self.matrices],) if self.matrices else tensor.shape[:-2]
        sources = tuple(rows_of(tensor).part(m * whole + first, count) for m in range(prod(outer)))
        return Placed((*outer, count, tensor.shape[-1]), sources)

    def for_bias(self) -> RowsOf:
        return self


@dataclass(frozen=True, slots=True)
class ColumnsOf:
    """Part number `part` of the columns of every row of a bias of experts: [experts, parts] to [experts, part]."""

    part: int
    parts: tuple[str, ...]

    def place(self, tensors: Sequence[WeightTensor], sizes: Sizes) -> Placed:
        (tensor,) = tensors
        first, count, whole = _span_of(self.part, self.parts, sizes)
        runs = (stored(tensor).run(row * whole + first, count) for row in range(prod(tensor.shape[:-1])))
        return Placed((*tensor.shape[:-1], count), tuple(runs))

    def for_bias(self) -> ColumnsOf:
        return self


@dataclass(frozen=True, slots=True)
class Transposed:
    """Each matrix transposed: of its columns only part number `part` of the `parts`, where there are any."""

    part: int = 0
    parts: tuple[str, ...] = ()

    def place(self, tensors: Sequence[WeightTensor], sizes: Sizes) -> Placed:
        (tensor,) = tensors
        *outer, rows, columns = tensor.shape
        first, count, _ = _span_of(self.part, self.parts, sizes) if self.parts else (0, columns, columns)
        transposed = TransposedRows(
            _numbers_of(tensor), matrices=prod(outer), stride=rows, columns=rows, first=first, count=count
        )
        return Placed((*outer, count, rows), (transposed,))

    def for_bias(self) -> Transform:
        return RowsOf(self.part, self.parts) if self.parts else AsIs()


@dataclass(frozen=True, slots=True)
class TransposedRowsOf:
    """Part number `part` of the rows of each of `matrices` matrices, which lie one after the other, transposed."""

    part: int
    parts: tuple[str, ...]
    matrices: str

    def place(self, tensors: Sequence[WeightTensor], sizes: Sizes) -> Placed:
        (tensor,) = tensors
        first, count, whole = _span_of(self.part, self.parts, sizes)
        matrices, columns = sizes[self.matrices], tensor.shape[-1]
        of = _numbers_of(tensor).part(first, (matrices - 1) * whole + count)
        transposed = TransposedRows(of, matrices, stride=whole, columns=count, first=0, count=columns)
        return Placed((matrices, columns, count), (transposed,))

    def for_bias(self) -> Transform:
        raise NotImplementedError("a transposed part of the rows has no bias")


@dataclass(frozen=True, slots=True)
class EveryOther:
    """Of each matrix the rows `first`, `first` + 2, …: gate and up rows that alternate."""

    first: int

    def place(self, tensors: Sequence[WeightTensor], sizes: Sizes) -> Placed:
        (tensor,) = tensors
        *outer, rows, columns = tensor.shape
        return Placed((*outer, rows // 2, columns), (rows_of(tensor),), EveryNth(2, self.first))

    def for_bias(self) -> EveryOtherColumn:
        return EveryOtherColumn(self.first)


@dataclass(frozen=True, slots=True)
class EveryOtherColumn:
    """Of each row the columns `first`, `first` + 2, …: for a bias of experts."""

    first: int

    def place(self, tensors: Sequence[WeightTensor], sizes: Sizes) -> Placed:
        (tensor,) = tensors
        *outer, columns = tensor.shape
        row_map = EveryNth(2, self.first, pieces=columns // 2)
        return Placed((*outer, columns // 2), (stored(tensor).single_column(),), row_map)

    def for_bias(self) -> EveryOtherColumn:
        return self


@dataclass(frozen=True, slots=True)
class Reshaped:
    """The same numbers in another shape, given by names of sizes."""

    shape: tuple[str, ...]

    def place(self, tensors: Sequence[WeightTensor], sizes: Sizes) -> Placed:
        (tensor,) = tensors
        shape = tuple(sizes[name] for name in self.shape)
        return Placed(shape, (stored(tensor).reshaped(shape[-1]),))

    def for_bias(self) -> AsIs:
        return AsIs()


@dataclass(frozen=True, slots=True)
class TransposedEveryOther:
    """Each matrix transposed, and of its new rows `first`, `first` + 2, …"""

    first: int

    def place(self, tensors: Sequence[WeightTensor], sizes: Sizes) -> Placed:
        whole = Transposed().place(tensors, sizes)
        *outer, rows, columns = whole.shape
        return Placed((*outer, rows // 2, columns), whole.sources, EveryNth(2, self.first))

    def for_bias(self) -> EveryOtherColumn:
        return EveryOtherColumn(self.first)


@dataclass(frozen=True, slots=True)
class Regrouped:
    """Rows that come in `groups` groups of the `parts` each, brought together by part: first the first parts
    of all groups, then all second ones, …

    `taken`: the numbers of the parts that the output is made of; None for all.
    """

    groups: str
    parts: tuple[str, ...]
    taken: tuple[int, ...] | None = None

    def place(self, tensors: Sequence[WeightTensor], sizes: Sizes) -> Placed:
        (tensor,) = tensors
        taken = range(len(self.parts)) if self.taken is None else self.taken
        spans = [_span_of(part, self.parts, sizes) for part in taken]
        rows = rows_of(tensor)
        sources = tuple(
            rows.part(group * whole + first, count)
            for first, count, whole in spans
            for group in range(sizes[self.groups])
        )
        return Placed((sum(source.rows for source in sources), tensor.shape[-1]), sources)

    def for_bias(self) -> Transform:
        raise NotImplementedError("regrouped rows have no bias")


def rows_of(tensor: WeightTensor) -> SourceRows:
    """Of a tensor whose type was found to be supported."""
    assert tensor.source is not None
    return tensor.source


def stored(tensor: WeightTensor) -> StoredRows:
    """Vectors and small tensors, which no checkpoint packs."""
    rows = rows_of(tensor)
    if not isinstance(rows, StoredRows):
        raise InputError(f"tensor {tensor.name} is packed as {tensor.dtype}, which only matrices are")
    return rows


def _numbers_of(tensor: WeightTensor) -> SourceRows:
    """Of a tensor that is read by columns: its rows are single numbers, not blocks of several."""
    rows = rows_of(tensor)
    if TENSOR_TYPES[rows.dtype].is_quantized:
        raise InputError(f"tensor {tensor.name} is packed as {rows.dtype}, which cannot be transposed")
    return rows


def _span_of(part: int, parts: tuple[str, ...], sizes: Sizes) -> tuple[int, int, int]:
    """First and number of what `part` takes, and of all parts together."""
    bounds = list(accumulate((sizes[name] for name in parts), initial=0))
    return bounds[part], bounds[part + 1] - bounds[part], bounds[-1]
