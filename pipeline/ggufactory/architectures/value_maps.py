"""What conversions do to single numbers, before they are rounded to the type of the output."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float32]


def _add_one(numbers: Numbers) -> None:
    """Norms that checkpoints store as the distance from one (Gemma, Nemotron)."""
    np.add(numbers, np.float32(1), out=numbers)


def _add_one_in_half(numbers: Numbers) -> None:
    """The same for numbers in half precision, in which the converter then adds, too."""
    np.add(numbers, np.float32(1), out=numbers)
    numbers[:] = numbers.astype(np.float16)


def _negative_exponential(numbers: Numbers) -> None:
    """State decay, stored as a logarithm. By PyTorch, as in the converter: other libraries round otherwise."""
    import torch

    held = torch.from_numpy(numbers)
    torch.neg(torch.exp(held), out=held)


def _negative_exponential_in_half(numbers: Numbers) -> None:
    """The same for numbers in half precision: PyTorch's exponential of those is the rounded one."""
    import torch

    _negative_exponential(numbers)
    held = torch.from_numpy(numbers)
    held.copy_(held.half())


VALUE_MAPS: Mapping[str, Callable[[Numbers], None]] = {
    "add_one": _add_one,
    "add_one_in_half": _add_one_in_half,
    "negative_exponential": _negative_exponential,
    "negative_exponential_in_half": _negative_exponential_in_half,
}
"""By the name that tensors refer to. Each changes its argument in place."""


def in_precision(name: str, dtypes: Collection[str]) -> str:
    """The map as the converter applies it to numbers of these types: it leaves F16 as it is, and makes
    everything else single precision first."""
    half = f"{name}_in_half"
    return half if set(dtypes) == {"F16"} and half in VALUE_MAPS else name
