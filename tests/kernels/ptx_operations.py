"""What each PTX instruction does to the 32 lanes of a warp ("Parallel Thread Execution ISA", chapter 9).

An operation is a function of `where`, the lanes that take part: True, or an array of 32 conditions. Registers are
arrays of 32 unsigned numbers. Only what the kernels use is known; anything else is named in a KeyError.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Lanes = npt.NDArray[Any]
Where = bool | npt.NDArray[np.bool_]
Operation = Callable[[Where], None]

TYPES: dict[str, np.dtype[Any]] = {
    **{f"{kind}{8 * size}": np.dtype(f"u{size}") for kind in "bu" for size in (1, 2, 4, 8)},
    **{f"s{8 * size}": np.dtype(f"i{size}") for size in (1, 2, 4, 8)},
    "f16": np.dtype(np.float16),
    "f32": np.dtype(np.float32),
    "pred": np.dtype(np.bool_),
}
_WIDTHS = {np.dtype(f"u{size}").itemsize: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}


class AddressSpace:
    """This process's own memory, as numbers of each type: a kernel's addresses are real ones."""

    def __init__(self, type_: np.dtype[Any]) -> None:
        first = 1 << 12
        self._shift, self._first = type_.itemsize.bit_length() - 1, first
        count = (1 << 47) // type_.itemsize
        self.__array_interface__ = {"data": (first, False), "shape": (count,), "typestr": type_.str, "version": 3}
        self._all = np.asarray(self)

    def load(self, addresses: Lanes) -> Lanes:
        numbers: Lanes = self._all[self._places(addresses)]
        return numbers

    def store(self, addresses: Lanes, numbers: Lanes) -> None:
        self._all[self._places(addresses)] = numbers

    def _places(self, addresses: Lanes) -> Lanes:
        places: Lanes = (addresses - np.uint64(self._first)) >> np.uint64(self._shift)
        assert np.array_equal(places << np.uint64(self._shift), addresses - np.uint64(self._first)), "misaligned"
        return places


MEMORY = {name: AddressSpace(type_) for name, type_ in TYPES.items() if name != "pred"}


def as_type(numbers: Lanes, type_: np.dtype[Any]) -> Lanes:
    """A register's numbers as an instruction sees them: the same bits, or the lowest ones of them."""
    if numbers.dtype.itemsize > type_.itemsize:
        numbers = numbers.astype(_WIDTHS[type_.itemsize])
    return numbers.view(type_)


def put(register: Lanes, numbers: Any, where: Where) -> None:
    """Into a register that may be wider: signs are extended."""
    numbers = np.asarray(numbers)
    if numbers.dtype.itemsize < register.dtype.itemsize and numbers.dtype.kind in "iu":
        numbers = numbers.astype(register.dtype)
    elif numbers.dtype != register.dtype:
        numbers = numbers.view(register.dtype)
    np.copyto(register, numbers, where=where)


_NAN = np.uint32(0x7FFFFFFF).view(np.float32)


def rounded(operation: Callable[..., Any]) -> Callable[..., Lanes]:
    """With the one NaN that a GPU's arithmetic makes, of whatever; a CPU's has other bits, and code that looks at
    them gives other bytes."""

    def canonical(*numbers: Any) -> Lanes:
        result = np.asarray(operation(*numbers))
        return np.where(np.isnan(result), _NAN, result) if result.dtype.kind == "f" else result

    return canonical


def truncated(a: Lanes) -> Lanes:
    """cvt.rzi.s32.f32: what lies outside is clamped, NaN is zero."""
    return np.clip(np.nan_to_num(np.trunc(a.astype(np.float64)), nan=0.0), -(2.0**31), 2.0**31 - 1).astype(np.int32)


def sum_rounded_down(a: Lanes, b: Lanes) -> Lanes:
    """add.rm.f32, by the sum in double precision and what that leaves out."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    total = x + y
    added = total - x
    left_out = (x - (total - added)) + (y - added)
    nearest = total.astype(np.float32)
    is_above = (nearest > total) | ((nearest == total) & (left_out < 0))
    return np.where(is_above, np.nextafter(nearest, np.float32(-np.inf)), nearest)


def shifted_left(a: Lanes, b: Lanes) -> Lanes:
    bits = 8 * a.dtype.itemsize
    return np.where(b < bits, a << np.minimum(b, bits - 1).astype(a.dtype), a.dtype.type(0))


def shifted_right(a: Lanes, b: Lanes) -> Lanes:
    bits = 8 * a.dtype.itemsize
    shifted: Lanes = a >> np.minimum(b, bits - 1).astype(a.dtype)
    return shifted if a.dtype.kind == "i" else np.where(b < bits, shifted, a.dtype.type(0))


@rounded
def quotient(a: Lanes, b: Lanes) -> Lanes:
    """Of integers towards zero, of floats rounded; where nobody looks, b may be zero."""
    if a.dtype.kind == "f":
        return np.divide(a, b)
    safe = np.where(b == 0, b.dtype.type(1), b)
    return np.asarray(np.sign(a) * np.sign(safe) * (np.abs(a) // np.abs(safe)) if a.dtype.kind == "i" else a // safe)


def remainder(a: Lanes, b: Lanes) -> Lanes:
    rest: Lanes = a - quotient(a, b) * b
    return rest


@rounded
def product(a: Lanes, b: Lanes, modifiers: list[str]) -> Lanes:
    if "wide" in modifiers:
        wide = np.dtype(f"{a.dtype.kind}{2 * a.dtype.itemsize}")
        return np.asarray(a.astype(wide) * b.astype(wide))
    return np.asarray(a * b)


def permuted(a: Lanes, b: Lanes, selector: int) -> Lanes:
    both = b.astype(np.uint64) << np.uint64(32) | a.astype(np.uint64)
    out = np.zeros_like(a)
    for i in range(4):
        pick = selector >> 4 * i & 0xF
        assert pick < 8, "bytes that repeat a sign"
        out |= (both >> np.uint64(8 * pick) & np.uint64(0xFF)).astype(np.uint32) << np.uint32(8 * i)
    return out


def inserted(a: Lanes, b: Lanes, at: int, length: int) -> Lanes:
    mask = np.uint32(((1 << length) - 1) << at)
    return np.asarray((a << np.uint32(at)) & mask | b & ~mask)


def reversed_bits(a: Lanes) -> Lanes:
    bits = np.unpackbits(np.ascontiguousarray(a).view(np.uint8).reshape(-1, 4)[:, ::-1], axis=1)
    return np.packbits(bits, axis=1, bitorder="little").view(np.uint32).reshape(-1)


def leading_zeros(a: Lanes) -> Lanes:
    """bfind.shiftamt: all bits set where there is no bit to find."""
    return np.where(a == 0, 2**32 - 1, 32 - np.frexp(a.astype(np.float64))[1]).astype(np.uint32)


def bits_set(a: Lanes) -> Lanes:
    return np.unpackbits(np.ascontiguousarray(a).view(np.uint8).reshape(-1, 4), axis=1).sum(axis=1, dtype=np.uint32)


UNARY: dict[str, Callable[[Lanes], Lanes]] = {
    "mov": lambda a: a,
    "cvta": lambda a: a,
    "abs": np.abs,
    "neg": np.negative,
    "not": lambda a: np.logical_not(a) if a.dtype == np.bool_ else np.invert(a),
    "sqrt": rounded(np.sqrt),
    "rcp": rounded(lambda a: np.divide(np.float32(1), a)),
    "brev": reversed_bits,
    "bfind": leading_zeros,
    "popc": bits_set,
}
BINARY: dict[str, Callable[[Lanes, Lanes], Any]] = {
    "add": rounded(operator.add),
    "sub": rounded(operator.sub),
    "min": rounded(np.fmin),
    "max": rounded(np.fmax),
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
    "div": quotient,
    "rem": remainder,
}
_ORDERED: dict[str, Callable[[Lanes, Lanes], Any]] = {
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "eq": operator.eq,
}
_CONTRARY = {"ltu": "ge", "leu": "gt", "gtu": "le", "geu": "lt", "neu": "eq"}


def comparison(name: str, floats: bool) -> Callable[[Lanes, Lanes], Any]:
    """Of setp: those that end in `u` are true where a number is NaN."""
    if name in _ORDERED:
        return _ORDERED[name]
    if name in _CONTRARY:
        ordered = _ORDERED[_CONTRARY[name]]
        return lambda a, b: ~ordered(a, b)
    if name == "ne" and not floats:
        return operator.ne
    if name in ("nan", "num"):
        return lambda a, b: (np.isnan(a) | np.isnan(b)) == (name == "nan")
    raise KeyError(f"setp.{name}")


def converted(a: Lanes, to: np.dtype[Any], modifiers: list[str]) -> Lanes:
    if a.dtype.kind == "f" and to.kind != "f":
        if (modifiers, to) != (["rzi"], np.dtype(np.int32)):
            raise KeyError(f"cvt.{'.'.join(modifiers)}.{to}.f32")
        return truncated(a)
    return a.astype(to)
