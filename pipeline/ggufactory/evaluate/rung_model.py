"""The model of a rung: the source's, with the weights that its file has in place of the source's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import nn

from ggufactory.architectures.origins import Origin
from ggufactory.calibrate.stand_ins import LayerCall
from ggufactory.calibrate.streamed_model import StreamedModel
from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.checkpoint.weight_tensor import WeightTensor
from ggufactory.errors import InputError
from ggufactory.evaluate.activation_rounding import BY_WEIGHTS, RoundedInputs
from ggufactory.evaluate.rung_file import RungFile

Kept = MutableMapping[str, torch.Tensor]
"""What was read of the checkpoint and is not in files, by name: vectors and the like, the same for every rung."""
_EMBEDDINGS = "token_embd.weight"


class SourceModel(StreamedModel):
    """The checkpoint's own, which also keeps what rungs take from it as it is. `kept` is emptied by whoever
    gave it, once no rung needs the layer any more."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        dtype: torch.dtype,
        device: torch.device,
        origins: Mapping[str, tuple[Origin, ...]],
        kept: Kept,
    ) -> None:
        super().__init__(checkpoint, dtype, device)
        self._origins = origins
        self._kept = kept

    def _read(self, weights: WeightTensor) -> torch.Tensor:
        tensor = super()._read(weights)
        if weights.name not in self._origins:
            self._kept[weights.name] = tensor
        return tensor


class RungModel(StreamedModel):
    """The model with the weights of `file`. `rounds`: inputs of products as llama.cpp's processors do.

    InputError, where they are rounded, for a parameter whose parts the file has in types that want them in two ways.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        dtype: torch.dtype,
        device: torch.device,
        origins: Mapping[str, tuple[Origin, ...]],
        kept: Kept,
        file: RungFile,
        *,
        rounds: bool,
    ) -> None:
        super().__init__(checkpoint, dtype, device)
        self._origins = origins
        self._kept = kept
        self.file = file
        self._kinds = self._rounded_kinds() if rounds else None

    def run_layer(self, layer: int, hidden: torch.Tensor, call: LayerCall) -> torch.Tensor:
        with self._rounding(lambda: self.parameters(layer)):
            return super().run_layer(layer, hidden, call)

    def logits(self, tokens: torch.Tensor, hidden: torch.Tensor, keep: int) -> torch.Tensor:
        with self._rounding(self.parameters_outside):
            return super().logits(tokens, hidden, keep)

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

    def _rounding(self, parameters: Callable[[], Mapping[str, nn.Parameter]]) -> AbstractContextManager[object]:
        return nullcontext() if self._kinds is None else RoundedInputs(self._kinds, parameters)

    def _rounded_kinds(self) -> dict[str, str]:
        """What the inputs of each parameter are rounded to."""
        found: dict[str, set[str]] = {}
        for name, origins in self._origins.items():
            if (parameter := self.targets.get(name)) is None:
                continue
            outputs = {origin.output for origin in origins}
            # Embeddings that are the head, too: only as the head are they multiplied.
            multiplied = outputs - {_EMBEDDINGS} or outputs
            found.setdefault(parameter, set()).update(BY_WEIGHTS[self.file.type_of(output)] for output in multiplied)
        for parameter, kinds in found.items():
            if len(kinds) > 1:
                raise InputError(
                    f"{self.file.uri}: parts of {parameter} are stored in types whose activations llama.cpp rounds to "
                    f"{' and '.join(sorted(kinds))}, but the source's model multiplies them as one",
                    fix="Evaluate with activations as they are (--activations f32)",
                )
        return {parameter: kinds.pop() for parameter, kinds in found.items()}
