"""The models that are compared: opened from their names, by whoever takes chunks through them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ggufactory.architectures.origins import origins
from ggufactory.calibrate.device import device_of
from ggufactory.calibrate.share_state import ShareState
from ggufactory.calibrate.streamed_pass import Tokens
from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.evaluate import evaluation_pass
from ggufactory.evaluate.arithmetic import AS_LLAMA_CPP, Arithmetic
from ggufactory.evaluate.divergence import Positions
from ggufactory.evaluate.rung_file import RungFile
from ggufactory.evaluate.rung_model import Kept, RungModel, SourceModel


@dataclass(frozen=True, slots=True)
class Share:
    """A run of chunks [chunks, context] of which the first is number `first_chunk` of the text."""

    chunks: Tokens
    first_chunk: int
    state: ShareState


class Models:
    """The source's, and one of each of `files`."""

    def __init__(self, checkpoint: Checkpoint, files: Sequence[RungFile], how: Arithmetic) -> None:
        dtype, device = getattr(torch, how.compute_dtype), device_of(how.device)
        places = origins(checkpoint)
        self._kept: Kept = {}
        self._source = SourceModel(checkpoint, dtype, device, places, self._kept)
        rounds = how.activations == AS_LLAMA_CPP
        self._rungs = [RungModel(checkpoint, dtype, device, places, self._kept, file, rounds=rounds) for file in files]
        # A group fills a GPU, and its memory.
        self._one_thread = device.type != "cpu"

    def run(
        self,
        share: Share,
        hidden_bytes: int,
        threads: int,
        on_step: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[Positions]:
        """As `evaluation_pass.run`."""
        return evaluation_pass.run(
            self._source,
            self._rungs,
            self._kept,
            share.chunks,
            hidden_bytes=hidden_bytes,
            state=share.state,
            threads=1 if self._one_thread else threads,
            first_chunk=share.first_chunk,
            on_step=on_step,
        )
