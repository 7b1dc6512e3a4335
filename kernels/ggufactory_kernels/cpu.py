"""The CPU backend: picks the instruction set."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ggufactory_kernels import _cpu, faults
from ggufactory_kernels.types import TENSOR_TYPES, TensorType

INSTRUCTION_SETS = dict(_cpu.instruction_sets())
"""Those of this build, best first, and whether this machine has them."""

_KERNEL_NUMBERS = {number for number, _, _ in _cpu.kernel_types()}
KERNEL_TYPES = tuple(name for name, type_ in TENSOR_TYPES.items() if type_.number in _KERNEL_NUMBERS)
"""The tensor types that this build quantizes to."""

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
    if kind != faults.Kind.NONE:
        weights = faults.Weights(columns, lambda first, count: _decode(source, source_type, first, count))
        weighted = importance is not None
        raise ValueError(faults.message(faults.Kind(kind), block, _BLOCKS_AT_ONCE, target, weights, weighted=weighted))


def dequantize_rows(
    packed: npt.NDArray[np.uint8], type_: TensorType, out: npt.NDArray[np.float32], threads: int, isa: str | None
) -> None:
    """The floats of the blocks in `packed`, both flat and of matching sizes.

    ValueError where this build lacks a kernel or this machine the instruction set.
    """
    if type_.name not in KERNEL_TYPES:
        raise ValueError(f"this build cannot dequantize {type_.name}; it can {', '.join(KERNEL_TYPES)}")
    _cpu.dequantize(_usable(isa), type_.number, packed, out, threads)


def square_error_rows(
    held: npt.NDArray[np.uint8],
    held_type: TensorType,
    stored: npt.NDArray[np.uint8],
    stored_type: TensorType,
    columns: int,
    importance: npt.NDArray[np.float32] | None,
    out: npt.NDArray[np.float64],
    threads: int,
    isa: str | None,
) -> None:
    """Of each row of `held` and of `stored`, all flat and of matching sizes, two sums to `out`: `gk.square_errors`.

    ValueError where this build lacks a kernel or this machine the instruction set.
    """
    for type_ in (held_type, stored_type):
        if type_.name not in KERNEL_TYPES:
            raise ValueError(f"this build cannot dequantize {type_.name}; it can {', '.join(KERNEL_TYPES)}")
    _cpu.square_errors(
        _usable(isa), held_type.number, held, stored_type.number, stored, columns, importance, out, threads
    )


def _usable(isa: str | None) -> str:
    if isa is None:
        return best_instruction_set()
    if not INSTRUCTION_SETS.get(isa, False):
        usable = [name for name, supported in INSTRUCTION_SETS.items() if supported]
        raise ValueError(f"instruction set {isa!r} is not available; here are {', '.join(usable)}")
    return isa


def _decode(source: npt.NDArray[np.uint8], source_type: str, start: int, count: int) -> npt.NDArray[np.float32]:
    """Weights start ... start + count (or to the end) of the flat source, as float32."""
    size = TENSOR_TYPES[source_type].block_bytes
    raw = source[start * size : (start + count) * size].tobytes()
    if source_type == "BF16":
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(raw, "<f4" if source_type == "F32" else "<f2").astype(np.float32)
