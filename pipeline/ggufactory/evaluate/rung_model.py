"""The model of a rung: the source's, with the weights that its file has in place of the source's own."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

import numpy as np
import torch

from ggufactory.architectures.origins import Origin
from ggufactory.calibrate.streamed_model import StreamedModel
from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.checkpoint.weight_tensor import WeightTensor
from ggufactory.evaluate.rung_file import RungFile

Kept = MutableMapping[str, torch.Tensor]
"""What was read of the checkpoint and is not in files, by name: vectors and the like, the same for every rung."""


class SourceModel(StreamedModel):
    """The checkpoint's own, which also keeps what rungs take from it as it is. `kept` is emptied by whoever
    gave it, once no rung needs the layer any more."""

    def __init__(
        self, checkpoint: Checkpoint, dtype: torch.dtype, origins: Mapping[str, tuple[Origin, ...]], kept: Kept
    ) -> None:
        super().__init__(checkpoint, dtype)
        self._origins = origins
        self._kept = kept

    def _read(self, weights: WeightTensor) -> torch.Tensor:
        tensor = super()._read(weights)
        if weights.name not in self._origins:
            self._kept[weights.name] = tensor
        return tensor


class RungModel(StreamedModel):
    """The model with the weights of `file`."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        dtype: torch.dtype,
        origins: Mapping[str, tuple[Origin, ...]],
        kept: Kept,
        file: RungFile,
    ) -> None:
        super().__init__(checkpoint, dtype)
        self._origins = origins
        self._kept = kept
        self.file = file

    def _read(self, weights: WeightTensor) -> torch.Tensor:
        origins = self._origins.get(weights.name)
        if origins is None:
            # A run that is resumed may begin between two models: then it is read once more.
            held = self._kept.get(weights.name)
            return super()._read(weights) if held is None else held
        flat = np.empty(int(np.prod(weights.shape)), np.float32)
        if sum(origin.rows * origin.columns for origin in origins) < flat.size:
            # What the conversion leaves out is the source's, and no rung's.
            flat[:] = super()._read(weights).float().numpy().reshape(-1)
        for origin in origins:
            numbers = self.file.read_rows(origin.output, origin.first, origin.first + origin.rows)
            origin.put_back(numbers, flat)
        return torch.from_numpy(flat).reshape(weights.shape)
