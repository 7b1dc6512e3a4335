"""Evaluation as Ray tasks: each takes a share of the chunks through the source's model and every rung's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import ray

from ggufactory.calibrate.heap import FIX_MEMORY
from ggufactory.cluster.session import Session
from ggufactory.cluster.submit import Call, Waiter, bind, options, run_all
from ggufactory.errors import IncompleteError

if TYPE_CHECKING:
    from ggufactory.evaluate.divergence import Positions
    from ggufactory.evaluate.models import Share


class Watcher(Waiter, Protocol):
    """Who is told how it goes."""

    def share_done(self, done: int, shares: int) -> None: ...


def compare_shares(
    session: Session,
    source: str,
    rungs: Mapping[str, str],
    shares: Sequence[Share],
    compute_dtype: str,
    hidden_bytes: int,
    memory: int,
    watcher: Watcher,
) -> list[list[Positions]]:
    """By share, by rung. `rungs`: URIs by name; `memory`: bytes of a worker. A share whose worker dies goes on, on any
    other, after the last layer that it had finished.

    IncompleteError when a share failed for good; what `run_all` raises.
    """
    task = ray.remote(_compare_share).options(**options("evaluate", memory=memory))
    done: dict[int, list[Positions]] = {}

    def calls() -> Iterator[tuple[str, Call]]:
        for number, share in enumerate(shares):
            yield f"share {number}", bind(task, number, source, dict(rungs), share, compute_dtype, hidden_bytes)

    def on_result(result: tuple[int, list[Positions]]) -> None:
        done[result[0]] = result[1]
        watcher.share_done(len(done), len(shares))

    failed = run_all(session, calls(), memory, on_result, watcher, fix=FIX_MEMORY)
    if failed:
        name, error = next(iter(failed.items()))
        raise IncompleteError(
            f"{len(failed)} of {len(shares)} shares of the text failed; {name}: {error}",
            fix="The same command resumes after the last finished layers",
        )
    return [done[number] for number in range(len(shares))]


def _compare_share(
    number: int, source: str, rungs: Mapping[str, str], share: Share, compute_dtype: str, hidden_bytes: int
) -> tuple[int, list[Positions]]:
    import torch

    from ggufactory.checkpoint import open_checkpoint
    from ggufactory.evaluate.models import Models
    from ggufactory.evaluate.rung_file import RungFile

    torch.set_num_threads(1)
    files = [RungFile(name, uri) for name, uri in rungs.items()]
    models = Models(open_checkpoint(source), files, getattr(torch, compute_dtype))
    return number, models.run(share, hidden_bytes, threads=1)
