"""The CPU backend: picks the instruction set, and words what went wrong."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ggufactory_kernels import _cpu
from ggufactory_kernels.types import TENSOR_TYPES, TensorType

INSTRUCTION_SETS = dict(_cpu.instruction_sets())
"""Those of this build, best first, and whether this machine has them."""

_KERNEL_NUMBERS = {number for number, _, _ in _cpu.kernel_types()}
KERNEL_TYPES = tuple(name for name, type_ in TENSOR_TYPES.items() if type_.number in _KERNEL_NUMBERS)
"""The tensor types that this build quantizes to."""

_NON_FINITE, _SCALE_OVERFLOW, _OFF_GRID = 1, 2, 3
_WEIGHED_BY_ROW = frozenset({"Q4_0", "Q4_1", "Q5_0", "Q5_1"})
"""With importance their element weights depend on the mean square of the row."""
_BLOCKS_AT_ONCE = 16
"""The widest backend's lanes: a weight that is not finite lies within so many blocks of its report."""


def best_instruction_set() -> str:
    """The one that is used unless another is asked for."""
    return next(name for name, supported in INSTRUCTION_SETS.items() if supported)


def quantize_rows(
    source: npt.NDArray[np.uint8],
    source_type: str,
    target: TensorType,
    columns: int,
    out: npt.NDArray[np.uint8],
    importance: npt.NDArray[np.float32] | None,
    threads: int,
    isa: str | None = None,
) -> None:
    """Quantize the raw rows of `source` into `out`, both flat bytes of matching sizes.

    ValueError where this build lacks a kernel or this machine the instruction set, and for the first
    weight that is not finite or block whose scale overflows or whose search leaves the grid.
    """
    if target.name not in KERNEL_TYPES:
        raise ValueError(f"this build cannot quantize to {target.name}; it can to {', '.join(KERNEL_TYPES)}")
    kind, block = _cpu.quantize(
        _usable(isa), target.number, TENSOR_TYPES[source_type].number, source, columns, importance, out, threads
    )
    if kind == _SCALE_OVERFLOW and importance is not None and target.name in _WEIGHED_BY_ROW:
        # A weight that is no number has spoilt the mean of its row, and with it the blocks before its own.
        first, blocks = block * target.block // columns * columns, columns // target.block
        if not np.isfinite(_decode(source, source_type, first, columns)).all():
            raise ValueError(_non_finite_message(source, source_type, target, columns, first // target.block, blocks))
    if kind == _NON_FINITE:
        raise ValueError(_non_finite_message(source, source_type, target, columns, block, _BLOCKS_AT_ONCE))
    if kind == _SCALE_OVERFLOW:
        raise ValueError(_overflow_message(source, source_type, target, columns, block))
    if kind == _OFF_GRID:
        raise ValueError(_off_grid_message(source, source_type, target, columns, block))


def dequantize_rows(
    packed: npt.NDArray[np.uint8], type_: TensorType, out: npt.NDArray[np.float32], threads: int, isa: str | None
) -> None:
    """The floats of the blocks in `packed`, both flat and of matching sizes.

    ValueError where this build lacks a kernel or this machine the instruction set.
    """
    if type_.name not in KERNEL_TYPES:
        raise ValueError(f"this build cannot dequantize {type_.name}; it can {', '.join(KERNEL_TYPES)}")
    _cpu.dequantize(_usable(isa), type_.number, packed, out, threads)


def _usable(isa: str | None) -> str:
    if isa is None:
        return best_instruction_set()
    if not INSTRUCTION_SETS.get(isa, False):
        usable = [name for name, supported in INSTRUCTION_SETS.items() if supported]
        raise ValueError(f"instruction set {isa!r} is not available; here are {', '.join(usable)}")
    return isa


def _non_finite_message(
    source: npt.NDArray[np.uint8], source_type: str, target: TensorType, columns: int, block: int, blocks: int
) -> str:
    """Of the first weight that is not finite in the `blocks` blocks from `block` on."""
    start = block * target.block
    weights = _decode(source, source_type, start, blocks * target.block)
    index = int(np.argmax(~np.isfinite(weights)))
    row, column = divmod(start + index, columns)
    return f"weights are finite numbers, found {weights[index]} in row {row}, column {column}"


def _overflow_message(
    source: npt.NDArray[np.uint8], source_type: str, target: TensorType, columns: int, block: int
) -> str:
    row, column = divmod(block * target.block, columns)
    largest = np.abs(_decode(source, source_type, block * target.block, target.block)).max()
    if not target.is_quantized:
        return f"weight {largest:g} in row {row}, column {column} is too large for {target.name}"
    wrong = "wraps to no number" if target.name == "MXFP4" else "is not finite in half precision"
    return (
        f"row {row}, columns {column} to {column + target.block - 1}: the scale of this {target.name} block "
        f"{wrong}; its largest weight is {largest:g}"
    )


def _off_grid_message(
    source: npt.NDArray[np.uint8], source_type: str, target: TensorType, columns: int, block: int
) -> str:
    row, column = divmod(block * target.block, columns)
    largest = np.abs(_decode(source, source_type, block * target.block, target.block)).max()
    return (
        f"row {row}, columns {column} to {column + target.block - 1}: the search for {target.name} left its grid, "
        f"because the errors of this block, weighed by importance, are too large for single precision; "
        f"its largest weight is {largest:g}"
    )


def _decode(source: npt.NDArray[np.uint8], source_type: str, start: int, count: int) -> npt.NDArray[np.float32]:
    """Weights start ... start + count (or to the end) of the flat source, as float32."""
    size = TENSOR_TYPES[source_type].block_bytes
    raw = source[start * size : (start + count) * size].tobytes()
    if source_type == "BF16":
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(raw, "<f4" if source_type == "F32" else "<f2").astype(np.float32)
