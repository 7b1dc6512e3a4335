"""Where the numbers of a GGUF file lie in the checkpoint, so that they can be put back there.

The tables that convert say it: they are applied to tensors that hold, instead of weights, their own places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from ggufactory.architectures.model import RowMap
from ggufactory.architectures.nvfp4_scales import without_scales
from ggufactory.architectures.registry import family_of
from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.checkpoint.packing import unpacked
from ggufactory.checkpoint.rows import SourceRows, StoredRows
from ggufactory.checkpoint.weight_tensor import WeightTensor

Numbers = npt.NDArray[np.float32]
_PLACE_BYTES = 4
_BIAS = ".bias"


@dataclass(frozen=True, slots=True)
class Origin:
    """Rows [first, first + rows) of the output tensor `output`, all of whose numbers lie in one tensor of the
    checkpoint."""

    output: str
    first: int
    rows: int
    columns: int
    _places: SourceRows
    _row_map: RowMap | None

    def put_back(self, numbers: Numbers, tensor: Numbers) -> None:
        """Write `numbers`, the output's rows [rows, columns], to their places in `tensor`, which is flat."""
        assert numbers.shape == (self.rows, self.columns)
        if isinstance(self._places, StoredRows):
            first = self._places.offset // _PLACE_BYTES
            held = tensor[first : first + self._places.rows * self.columns].reshape(-1, self.columns)
            held[slice(None) if self._row_map is None else self._row_map.source_rows(0, self.rows)] = numbers
            return
        rows = np.arange(self.rows) if self._row_map is None else self._row_map.source_rows(0, self.rows)
        unit = self._places.unit
        for start in range(0, self._places.rows, unit):
            here = np.flatnonzero((rows >= start) & (rows < start + unit))
            tensor[self._read(start, start + unit)[rows[here] - start]] = numbers[here]

    def _read(self, start: int, stop: int) -> npt.NDArray[np.uint32]:
        places = np.empty((stop - start, self.columns), np.uint32)
        self._places.read_rows(start, stop, places.view(np.uint8), _read_places)
        return places


def origins(checkpoint: Checkpoint) -> Mapping[str, tuple[Origin, ...]]:
    """By tensor of the checkpoint: what of the GGUF file its numbers went to. Without those that the conversion
    changes, and without vectors and biases, which no file has in fewer bits.

    InputError and PlanError as `describe`.
    """
    family, config = family_of(checkpoint)
    weights, _ = without_scales(unpacked(checkpoint, config))
    places = {name: _of_places(tensor) for name, tensor in weights.items()}
    found: dict[str, list[Origin]] = {}
    for output in family.tensors_of(checkpoint, config, places):
        if len(output.shape) < 2 or output.value_map is not None or output.name.endswith(_BIAS):
            continue
        firsts = accumulate((source.rows for source in output.sources), initial=0)
        for source, first in zip(output.sources, firsts, strict=False):
            rows = source.rows if output.row_map is None else output.rows
            assert output.row_map is None or len(output.sources) == 1
            origin = Origin(output.name, first, rows, output.columns, source, output.row_map)
            found.setdefault(source.tensor, []).append(origin)
    return {name: tuple(held) for name, held in found.items()}


def _of_places(tensor: WeightTensor) -> WeightTensor:
    rows = max(tensor.rows, 1)
    return WeightTensor(
        tensor.name, tensor.shape, "F32", StoredRows(tensor.name, tensor.name, 0, "F32", rows, tensor.columns)
    )


def _read_places(file: str, offset: int, buffer: memoryview) -> None:
    places: npt.NDArray[Any] = np.frombuffer(buffer, np.uint32)
    first = offset // _PLACE_BYTES
    places[:] = np.arange(first, first + len(places), dtype=np.uint32)
