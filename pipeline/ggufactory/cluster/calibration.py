"""Calibration as Ray tasks: each worker takes a share of the chunks through all layers, and the sums are added."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import ray

from ggufactory.cluster.session import Session
from ggufactory.cluster.submit import Call, Waiter, options, run_all
from ggufactory.errors import GgufactoryError, IncompleteError

if TYPE_CHECKING:
    from ggufactory.calibrate.streamed_pass import Collected, Tokens


def collect(
    session: Session,
    source: str,
    shares: list[Tokens],
    compute_dtype: str,
    hidden_bytes: int,
    memory: int,
    on_share: Callable[[int, int], None],
    waiter: Waiter,
) -> Collected:
    """What `streamed_pass.run` collects of all `shares` of chunks, whoever took which. `memory`: bytes of a worker;
    `on_share`: told how many are done, and of how many.

    IncompleteError when a share failed for good; what `run_all` raises.
    """
    task = ray.remote(_collect_share).options(**options("calibrate", memory=memory))
    done: dict[int, Collected] = {}

    def calls() -> Iterator[tuple[str, Call]]:
        for number, chunks in enumerate(shares):
            yield f"share {number}", _bind(task, number, source, chunks, compute_dtype, hidden_bytes)

    def on_result(result: tuple[int, Collected]) -> None:
        done[result[0]] = result[1]
        on_share(len(done), len(shares))

    failed: dict[str, GgufactoryError] = run_all(session, calls(), memory, on_result, waiter)
    if failed:
        name, error = next(iter(failed.items()))
        raise IncompleteError(f"{len(failed)} of {len(shares)} shares of the text failed; {name}: {error}")
    first, *others = (done[number] for number in range(len(shares)))
    for other in others:
        first.add(other)
    return first


def _collect_share(
    number: int, source: str, chunks: Tokens, compute_dtype: str, hidden_bytes: int
) -> tuple[int, Collected]:
    import torch

    from ggufactory.calibrate.streamed_model import StreamedModel
    from ggufactory.calibrate.streamed_pass import run
    from ggufactory.checkpoint import open_checkpoint

    torch.set_num_threads(1)
    model = StreamedModel(open_checkpoint(source), getattr(torch, compute_dtype))
    return number, run(model, chunks, hidden_bytes)


def _bind(task: Any, *arguments: object) -> Call:
    return lambda: task.remote(*arguments)
