"""Evaluation as Ray tasks: each takes a share of the chunks through the source's model and every rung's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import ray

from ggufactory.calibrate.heap import FIX_MEMORY, told_when_exhausted
from ggufactory.cluster.session import Session
from ggufactory.cluster.step_progress import StepProgress
from ggufactory.cluster.submit import Call, bind, options, run_all
from ggufactory.errors import IncompleteError, SourceChangedError
from ggufactory.evaluate.arithmetic import Arithmetic

if TYPE_CHECKING:
    from ggufactory.evaluate.divergence import Positions
    from ggufactory.evaluate.models import Share
    from ggufactory.evaluate.rung_file import RungFile


@dataclass(frozen=True, slots=True)
class Rung:
    """A file that every worker opens for itself. `identity`: it must be the one that the driver opened."""

    name: str
    uri: str
    identity: str


@dataclass(frozen=True, slots=True)
class Work:
    """What all shares have in common. `source`: the checkpoint; `hidden_bytes`: hidden states that a worker keeps in
    memory; `memory`: bytes of a worker."""

    source: str
    rungs: tuple[Rung, ...]
    arithmetic: Arithmetic
    hidden_bytes: int
    memory: int


class Watcher(Protocol):
    """Who is told how it goes."""

    def advanced(self, done: int, total: int) -> None: ...

    def share_done(self, done: int, shares: int) -> None: ...

    def tick(self) -> None: ...

    def warn(self, message: str) -> None: ...


def compare_shares(session: Session, work: Work, shares: Sequence[Share], watcher: Watcher) -> list[list[Positions]]:
    """By share, by rung. A share whose worker dies goes on, on any other, after the last layer that it had finished.

    IncompleteError when a share failed for good; what `run_all` raises.
    """
    task = ray.remote(_compare_share).options(**options("evaluate", memory=work.memory))
    progress = StepProgress(watcher, len(shares))
    done: dict[int, list[Positions]] = {}

    def calls() -> Iterator[tuple[str, Call]]:
        for number, share in enumerate(shares):
            yield f"share {number}", bind(task, number, work, share, progress.steps)

    def on_result(result: tuple[int, list[Positions]]) -> None:
        done[result[0]] = result[1]
        watcher.share_done(len(done), len(shares))

    failed = run_all(session, calls(), work.memory, on_result, progress, fix=FIX_MEMORY)
    if failed:
        name, error = next(iter(failed.items()))
        raise IncompleteError(
            f"{len(failed)} of {len(shares)} shares of the text failed; {name}: {error}",
            fix="The same command resumes after the last finished layers",
        )
    return [done[number] for number in range(len(shares))]


def _compare_share(number: int, work: Work, share: Share, steps: Any) -> tuple[int, list[Positions]]:
    import torch

    from ggufactory.checkpoint import open_checkpoint
    from ggufactory.evaluate.models import Models

    torch.set_num_threads(1)
    with told_when_exhausted():
        models = Models(open_checkpoint(work.source), [_opened(rung) for rung in work.rungs], work.arithmetic)
        return number, models.run(
            share,
            work.hidden_bytes,
            threads=1,
            on_step=lambda done, total: steps.note.remote(number, done, total),
        )


def _opened(rung: Rung) -> RungFile:
    """SourceChangedError where the file is not the driver's."""
    from ggufactory.evaluate.rung_file import RungFile

    file = RungFile(rung.name, rung.uri)
    if file.identity != rung.identity:
        raise SourceChangedError(f"{rung.uri} was replaced while it was evaluated", fix="Start the same command again")
    return file
