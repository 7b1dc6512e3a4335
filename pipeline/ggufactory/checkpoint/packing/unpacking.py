"""The work of finding out what the tensors of a packed checkpoint stand for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod

from ggufactory.checkpoint.checkpoint import SourceTensor
from ggufactory.checkpoint.json_object import clip
from ggufactory.checkpoint.packing.number_types import FLOATS
from ggufactory.checkpoint.rows import SourceRows, StoredRows
from ggufactory.checkpoint.weight_tensor import WeightTensor
from ggufactory.errors import InputError, PlanError

MOST_FAULTS = 100
"""Told one by one; a checkpoint that is wrong throughout has thousands."""


class Unpacking:
    """Tensors of a checkpoint, some of which are taken together for the logical ones that they hold."""

    def __init__(self, tensors: Mapping[str, SourceTensor]) -> None:
        self.tensors = tensors
        self._found: dict[str, WeightTensor] = {}
        self._taken: set[str] = set()
        self._faults: list[str] = []

    def ending(self, suffix: str) -> Iterator[tuple[SourceTensor, str]]:
        """Each tensor whose name ends so and that is not taken yet, and the rest of its name."""
        for name, tensor in self.tensors.items():
            if name.endswith(suffix) and name not in self._taken:
                yield tensor, name.removesuffix(suffix)

    def take(self, name: str, needed_by: SourceTensor, dtypes: tuple[str, ...]) -> SourceTensor:
        """The tensor of that name, which belongs to `needed_by`. InputError: missing, or of another dtype."""
        found = self.take_any(name, needed_by, dtypes)
        if found is None:
            raise InputError(f"tensor {clip(needed_by.name)} has no {clip(name)} beside it", fix=INCOMPLETE)
        return found

    def take_any(self, name: str, needed_by: SourceTensor, dtypes: tuple[str, ...]) -> SourceTensor | None:
        """The same, or None where there is none."""
        found = self.tensors.get(name)
        if found is None:
            return None
        self._taken.add(name)
        check_dtype(found, dtypes)
        if prod(found.shape) == 0:
            raise InputError(f"tensor {clip(name)}, which belongs to {clip(needed_by.name)}, is empty")
        return found

    def drop(self, *suffixes: str) -> None:
        """Leave out tensors that only running the packed model takes, such as scales of activations."""
        self._taken.update(name for name in self.tensors if name.endswith(suffixes))

    def leave_out(self, tensor: SourceTensor) -> None:
        """Take a tensor that belongs to none."""
        self._taken.add(tensor.name)

    def put(self, weights: SourceTensor, name: str, shape: tuple[int, ...], source: SourceRows) -> None:
        """`weights` (with what was taken for it) stands for the tensor `name`. InputError: already there."""
        if name != weights.name and name in self.tensors and name not in self._taken:
            raise InputError(f"tensor {clip(name)} is there twice: packed as {clip(weights.name)}, and plain")
        self._taken.add(weights.name)
        self._found[weights.name] = WeightTensor(name, shape, weights.dtype, source)

    @contextmanager
    def noting_faults(self) -> Iterator[None]:
        """Go on after an InputError in the block; `finish` tells it."""
        try:
            yield
        except InputError as error:
            self._faults.append(str(error))

    def finish(self) -> dict[str, WeightTensor]:
        """All logical tensors by name, each where its weights were. PlanError with everything noted."""
        if self._faults:
            more = len(self._faults) - MOST_FAULTS
            raise PlanError([*self._faults[:MOST_FAULTS], *([f"and {more:,} more such faults"] if more > 0 else [])])
        found: dict[str, WeightTensor] = {}
        for tensor in self.tensors.values():
            logical = self._found.get(tensor.name)
            if logical is None and tensor.name not in self._taken:
                logical = plain(tensor)
            if logical is not None:
                found[logical.name] = logical
        return found


INCOMPLETE = "The checkpoint is incomplete, or config.json's quantization_config is of another one"


def plain(tensor: SourceTensor) -> WeightTensor:
    """A tensor that stands for itself."""
    rows, columns = prod(tensor.shape[:-1]), tensor.shape[-1] if tensor.shape else 1
    source = None
    if tensor.dtype in FLOATS:
        source = StoredRows(tensor.name, tensor.file, tensor.offset, tensor.dtype, rows, columns)
    return WeightTensor(tensor.name, tensor.shape, tensor.dtype, source)


def check_dtype(tensor: SourceTensor, dtypes: tuple[str, ...]) -> None:
    """InputError: of none of `dtypes`."""
    if tensor.dtype not in dtypes:
        raise InputError(f"tensor {clip(tensor.name)} is stored as {tensor.dtype}; wanted {' or '.join(dtypes)}")


def check_shape(tensor: SourceTensor, shape: tuple[int, ...], why: str) -> None:
    """InputError: not of `shape`, which follows from what `why` says."""
    if tensor.shape != shape:
        raise InputError(
            f"tensor {clip(tensor.name)} has the shape {list(tensor.shape)}; {why} ask for {list(shape)}",
            fix=INCOMPLETE,
        )
