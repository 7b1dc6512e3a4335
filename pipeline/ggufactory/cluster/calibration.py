"""Calibration as Ray tasks, the chunks divided: each task takes a share of them through all layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import ray

from ggufactory.calibrate.collected import Collected
from ggufactory.calibrate.heap import FIX_MEMORY
from ggufactory.calibrate.share_state import ShareState
from ggufactory.cluster.session import Session
from ggufactory.cluster.step_progress import StepProgress
from ggufactory.cluster.submit import Call, bind, options, run_all
from ggufactory.errors import GgufactoryError, IncompleteError


@dataclass(frozen=True, slots=True)
class Work:
    """A run of chunks to be taken through a model. `source`: the checkpoint; `first_chunk`: the number of the first of
    `chunks` [chunks, context] in the text; `memory`: bytes of a worker."""

    source: str
    compute_dtype: str
    chunks: npt.NDArray[np.int32]
    first_chunk: int
    state: ShareState
    layers: int
    memory: int


class Watcher(Protocol):
    """Who is told how it goes."""

    def advanced(self, done: int, total: int) -> None: ...

    def layer_done(self, done: int, layers: int) -> None: ...

    def share_done(self, done: int, shares: int) -> None: ...

    def tick(self) -> None: ...

    def warn(self, message: str) -> None: ...


def collect_shares(session: Session, works: Sequence[Work], hidden_bytes: int, watcher: Watcher) -> Collected:
    """What is collected of all shares, whoever took which. A share whose worker dies goes on, on any other, after the
    last layer that it had finished.

    IncompleteError when a share failed for good; what `run_all` raises.
    """
    memory = max(work.memory for work in works)
    task = ray.remote(_collect_share).options(**options("calibrate", memory=memory))
    progress = StepProgress(watcher, len(works))
    done: dict[int, Collected] = {}

    def calls() -> Iterator[tuple[str, Call]]:
        for number, work in enumerate(works):
            yield f"share {number}", bind(task, number, work, hidden_bytes, progress.steps)

    def on_result(result: tuple[int, Collected]) -> None:
        done[result[0]] = result[1]
        watcher.share_done(len(done), len(works))

    failed: dict[str, GgufactoryError] = run_all(session, calls(), memory, on_result, progress, fix=FIX_MEMORY)
    if failed:
        name, error = next(iter(failed.items()))
        raise IncompleteError(
            f"{len(failed)} of {len(works)} shares of the text failed; {name}: {error}",
            fix="The same command resumes after the last finished layers",
        )
    collected = Collected()
    for share in done.values():
        collected.add(share)
    return collected


def _collect_share(number: int, work: Work, hidden_bytes: int, steps: Any) -> tuple[int, Collected]:
    import torch

    from ggufactory.calibrate.streamed_model import StreamedModel
    from ggufactory.calibrate.streamed_pass import groups_of, run
    from ggufactory.checkpoint import open_checkpoint

    torch.set_num_threads(1)
    model = StreamedModel(open_checkpoint(work.source), getattr(torch, work.compute_dtype))
    total = (model.layer_count + 1) * len(groups_of(work.chunks))
    found = run(
        model,
        work.chunks,
        hidden_bytes=hidden_bytes,
        state=work.state,
        first_chunk=work.first_chunk,
        on_step=lambda done: steps.note.remote(number, done, total),
    )
    return number, found
