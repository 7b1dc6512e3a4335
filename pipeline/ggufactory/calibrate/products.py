"""Matrix products as PyTorch is asked for them: which arguments they have, and how those in BF16 are computed.

A processor without instructions for BF16 takes four to five times as long for such a product as for one in single
precision. There the operands are widened, which is exact, and the result is rounded once: what a product in BF16
that accumulates in single precision is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

OPERANDS = {
    functional.linear: (0, 1),
    torch.matmul: (0, 1),
    torch.Tensor.matmul: (0, 1),
    torch.Tensor.__matmul__: (0, 1),
    torch.bmm: (0, 1),
    torch.Tensor.bmm: (0, 1),
    torch.addmm: (1, 2),
}
"""Where the inputs and the weights are among the arguments of a product."""


def multiply(product: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> torch.Tensor:
    """`product`, one of `OPERANDS`, of its arguments."""
    inputs = args[OPERANDS[product][0]]
    if inputs.dtype is not torch.bfloat16 or inputs.device.type != "cpu" or _multiplies_bfloat16():
        found: torch.Tensor = product(*args, **kwargs)
    else:
        wide = product(*map(_widened, args), **{key: _widened(value) for key, value in kwargs.items()})
        found = wide.to(torch.bfloat16)
    return found


class Products(TorchFunctionMode):
    """While active, every product goes through `multiply`."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in OPERANDS:
            return multiply(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))


@cache
def _multiplies_bfloat16() -> bool:
    """Whether this processor has instructions for it."""
    return bool(torch.cpu._is_avx512_bf16_supported())


def _widened(argument: Any) -> Any:
    return argument.float() if isinstance(argument, torch.Tensor) else argument
