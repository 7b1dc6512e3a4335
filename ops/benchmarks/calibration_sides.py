"""The two sides that calibration.py times: ggufactory's pass, in a process of its own, and llama.cpp's forward."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import torch

from ggufactory.calibrate.share_state import ShareState
from ggufactory.calibrate.streamed_model import StreamedModel
from ggufactory.calibrate.streamed_pass import run
from ggufactory.checkpoint import open_checkpoint

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from llama_oracle import LlamaModel

Tokens = npt.NDArray[np.int32]
HIDDEN_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of the wall clock, and of all threads of the process together."""

    wall: float
    processor: float


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass took and found. `sums`: of each watched parameter, float64 [columns]."""

    spent: Spent
    perplexity: float
    sums: dict[str, npt.NDArray[np.float64]]


@cache
def _model(source: str, dtype: str) -> StreamedModel:
    """Made once in a process: what is timed begins with the reading of the first weights."""
    return StreamedModel(open_checkpoint(source), getattr(torch, dtype))


def calibration_pass(source: str, dtype: str, chunks: Tokens, threads: int) -> Pass:
    """Embeddings, every layer read and run with its statistics, head, and the state for resuming: what `ggufactory
    calibrate` does."""
    torch.set_num_threads(threads)
    model = _model(source, dtype)
    with TemporaryDirectory() as folder, _timed() as spent:
        found = run(model, chunks, hidden_bytes=HIDDEN_BYTES, state=ShareState(folder, "state"), threads=threads)
    return Pass(spent[0], found.perplexity, {name: taken.sums.ravel() for name, taken in found.parameters.items()})


class LlamaForward:
    """llama.cpp on the BF16 file: batches of one chunk, logits of all tokens, keys and values in single precision."""

    def __init__(self, gguf: str, context: int, threads: int) -> None:
        self._model = LlamaModel(gguf, context=context, threads=threads)

    def forward(self, chunks: Tokens) -> Spent:
        with _timed() as spent:
            for chunk in chunks.tolist():
                self._model.logits(chunk)
        return spent[0]

    def perplexity(self, chunks: Tokens) -> float:
        """Over the second half of each chunk, as calibration has it."""
        total, half = [], chunks.shape[1] // 2
        for chunk in chunks.tolist():
            logits = torch.from_numpy(self._model.logits(chunk)[half:-1]).double()
            wanted = torch.tensor(chunk[half + 1 :])[:, None]
            total.append(torch.log_softmax(logits, dim=-1).gather(-1, wanted))
        return math.exp(-float(torch.cat(total).mean()))


@contextmanager
def _timed() -> Iterator[list[Spent]]:
    spent: list[Spent] = []
    wall, processor = time.perf_counter(), time.process_time()
    yield spent
    spent.append(Spent(time.perf_counter() - wall, time.process_time() - processor))
