"""Sums of squared inputs of every weight that a layer multiplies by, taken while transformers' own code runs.

Matrix products are watched where PyTorch is called, so that every family's layers are covered as they are: a
product counts for the parameter whose memory its weights are, and for the matrix (the expert) that they begin at.
What llama-imatrix collects: `IMatrixCollector::collect_imatrix` of llama.cpp's tools/imatrix/imatrix.cpp.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ggufactory.calibrate.products import OPERANDS, multiply

BLOCK = 64
"""Rows whose squares are summed in single precision; blocks are added in double."""
_BLOCKS_AT_ONCE = 4


@dataclass(slots=True)
class Sums:
    """Of one parameter: float64 [matrices, columns] and int64 [matrices]."""

    sums: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]

    def add(self, other: Sums) -> None:
        # Not in place: what comes from another process cannot be written.
        self.sums = self.sums + other.sums
        self.counts = self.counts + other.counts

    def rounded(self) -> Sums:
        """In single precision. Such sums are added in double precision without any rounding (as long as they lie
        within 2^20 of each other), so that their order, and who added which first, does not matter."""
        return Sums(self.sums.astype(np.float32).astype(np.float64), self.counts)


@dataclass(slots=True)
class _Watched:
    name: str
    matrices: int
    matrix_elements: int
    collected: dict[int, tuple[torch.Tensor, int]] = field(default_factory=dict)


def sum_of_squares(rows: torch.Tensor) -> torch.Tensor:
    """Float64 [columns] of `rows` [..., columns]: squares in single precision, summed in blocks, which cannot drift."""
    flat = rows.reshape(-1, rows.shape[-1])
    if flat.is_cuda:
        found: torch.Tensor = _on_gpu().column_squares(flat)[0]
        return found
    total = torch.zeros(flat.shape[1], dtype=torch.float64)
    # A few blocks at a time, whose squares stay in the processor's cache.
    for some in torch.split(flat, _BLOCKS_AT_ONCE * BLOCK):
        squares = some.float().square()
        whole = len(squares) // BLOCK * BLOCK
        total += squares[:whole].view(-1, BLOCK, flat.shape[1]).sum(dim=1).sum(dim=0, dtype=torch.float64)
        if whole < len(squares):
            total += squares[whole:].sum(dim=0)
    return total


class ActivationWatch(TorchFunctionMode):
    """While active, what is multiplied by one of `parameters` is summed. `also`: called after each watched product."""

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        also: Callable[[str, torch.Tensor, torch.Tensor], None] | None = None,
        other_products: Callable[[torch.Tensor, torch.Tensor], None] | None = None,
    ) -> None:
        super().__init__()
        self._also = also
        self._other_products = other_products
        self._watched = {}
        for name, parameter in parameters.items():
            matrices = parameter.shape[0] if parameter.dim() == 3 else 1
            self._watched[parameter.untyped_storage().data_ptr()] = _Watched(
                name, matrices, parameter.numel() // matrices
            )

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in OPERANDS:
            return func(*args, **(kwargs or {}))
        result = multiply(func, args, kwargs or {})
        inputs, weights = (args[i] for i in OPERANDS[func])
        watched = self._watched.get(weights.untyped_storage().data_ptr())
        if watched is not None:
            self._collect(watched, inputs, weights)
            if self._also:
                self._also(watched.name, inputs, result)
        elif self._other_products:
            self._other_products(inputs, weights)
        return result

    def taken(self) -> dict[str, Sums]:
        """What was summed since the last call, by parameter."""
        found = {}
        for watched in self._watched.values():
            if not watched.collected:
                continue
            columns = len(next(iter(watched.collected.values()))[0])
            sums = Sums(np.zeros((watched.matrices, columns)), np.zeros(watched.matrices, np.int64))
            for matrix, (squares, count) in watched.collected.items():
                sums.sums[matrix] = squares.cpu().numpy()
                sums.counts[matrix] = count
            found[watched.name] = sums
            watched.collected = {}
        return found

    def _collect(self, watched: _Watched, inputs: torch.Tensor, weights: torch.Tensor) -> None:
        first = weights.storage_offset() // watched.matrix_elements
        if weights.dim() == 3 and inputs.is_cuda:
            self._add_stack(watched, first, inputs)
        elif weights.dim() == 3:
            # All experts at once: each has its own rows, and rows of zeros are those it was not chosen for.
            for matrix in range(len(weights)):
                rows = inputs[matrix][inputs[matrix].any(dim=-1)]
                self._add(watched, first + matrix, rows)
        else:
            self._add(watched, first, inputs)

    def _add(self, watched: _Watched, matrix: int, rows: torch.Tensor) -> None:
        count = rows.numel() // rows.shape[-1]
        if count:
            self._add_squares(watched, matrix, sum_of_squares(rows), count)

    def _add_stack(self, watched: _Watched, first: int, inputs: torch.Tensor) -> None:
        """All experts in one launch: rows of zeros add nothing."""
        experts, rows, _ = inputs.shape
        offsets = torch.arange(experts + 1, device=inputs.device) * rows
        squares = _on_gpu().column_squares(inputs.flatten(0, 1), offsets)
        for expert, count in enumerate(inputs.any(dim=-1).sum(dim=-1).tolist()):
            if count:
                self._add_squares(watched, first + expert, squares[expert], count)

    def _add_squares(self, watched: _Watched, matrix: int, squares: torch.Tensor, count: int) -> None:
        if matrix in watched.collected:
            before, counted = watched.collected[matrix]
            squares, count = before + squares, counted + count
        watched.collected[matrix] = squares, count


def _on_gpu() -> Any:
    """Triton's kernels; imported when the first tensor on a GPU comes, since processors need no Triton."""
    from ggufactory_kernels import triton_ops

    return triton_ops
