"""What a kernel says of its blocks, in words: the same for every backend."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ggufactory_kernels.types import WEIGHED_BY_ROW, TensorType


class Kind(enum.IntEnum):
    """FaultKind of csrc/backend.h."""

    NONE = 0
    NON_FINITE = 1
    SCALE_OVERFLOW = 2
    OFF_GRID = 3


@dataclass(frozen=True, slots=True)
class Weights:
    """The rows that were quantized: `read(first, count)` gives weights counted through all of them, as floats."""

    columns: int
    read: Callable[[int, int], npt.NDArray[np.float32]]


def message(kind: Kind, block: int, blocks: int, target: TensorType, weights: Weights, *, weighted: bool) -> str:
    """What is wrong with block `block`. A weight that is not finite lies within `blocks` blocks from there on."""
    if kind == Kind.SCALE_OVERFLOW and weighted and target.name in WEIGHED_BY_ROW:
        # A weight that is no number has spoilt the mean of its row, and with it the blocks before its own.
        first = block * target.block // weights.columns * weights.columns
        if not np.isfinite(weights.read(first, weights.columns)).all():
            return _non_finite(weights, first, weights.columns)
    if kind == Kind.NON_FINITE:
        return _non_finite(weights, block * target.block, blocks * target.block)
    row, column = divmod(block * target.block, weights.columns)
    largest = np.abs(weights.read(block * target.block, target.block)).max()
    if not target.is_quantized:
        return f"weight {largest:g} in row {row}, column {column} is too large for {target.name}"
    place = f"row {row}, columns {column} to {column + target.block - 1}"
    if kind == Kind.SCALE_OVERFLOW:
        wrong = "wraps to no number" if target.name == "MXFP4" else "is not finite in half precision"
        return f"{place}: the scale of this {target.name} block {wrong}; its largest weight is {largest:g}"
    return (
        f"{place}: the search for {target.name} left its grid, because the errors of this block, weighed by "
        f"importance, are too large for single precision; its largest weight is {largest:g}"
    )


def _non_finite(weights: Weights, first: int, count: int) -> str:
    """Of the first weight that is not finite from `first` on."""
    values = weights.read(first, count)
    index = int(np.argmax(~np.isfinite(values)))
    row, column = divmod(first + index, weights.columns)
    return f"weights are finite numbers, found {values[index]} in row {row}, column {column}"
