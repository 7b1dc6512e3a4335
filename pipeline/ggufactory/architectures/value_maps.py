"""What conversions do to single numbers: in single precision, before they are rounded to their type."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float32]


def _add_one(numbers: Numbers) -> None:
    """Norms that checkpoints store as the distance from one (Gemma, Nemotron)."""
    np.add(numbers, np.float32(1), out=numbers)


def _negative_exponential(numbers: Numbers) -> None:
    """State decay, stored as a logarithm. By PyTorch, as in the converter: other libraries round otherwise."""
    import torch

    held = torch.from_numpy(numbers)
    torch.neg(torch.exp(held), out=held)


VALUE_MAPS: Mapping[str, Callable[[Numbers], None]] = {
    "add_one": _add_one,
    "negative_exponential": _negative_exponential,
}
"""By the name that tensors refer to. Each changes its argument in place."""
