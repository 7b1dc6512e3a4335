"""Which spans a task makes: several, so that it can read one while it makes another, yet never so many that
others stand idle at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from ggufactory.plan.memory import SPANS_PER_TASK

_TASKS_PER_SLOT = 4
"""That are still to come when a task takes more than one span."""
_TASKS_OF_A_CLUSTER = 500
"""The same of a cluster that may grow: an autoscaler counts tasks."""

Span = TypeVar("Span")


def batches(spans: Iterable[Span], count: int, slots: int) -> Iterator[tuple[Span, ...]]:
    """`count` spans in order, in batches that become smaller: the last are single, so that all workers end together.

    `slots`: how many tasks run at once, as far as that is known.
    """
    source = iter(spans)
    least = _TASKS_PER_SLOT * max(slots, 1)
    while batch := tuple(islice(source, min(max(count // least, 1), SPANS_PER_TASK))):
        count -= len(batch)
        yield batch


def slots_now(nodes: Iterable[Mapping[str, float]], memory: int, gpu_share: float) -> int:
    """How many tasks of one CPU, `memory` bytes and `gpu_share` of a GPU these nodes run at once."""
    slots = 0
    for node in nodes:
        room = min(node.get("CPU", 0), node.get("memory", 0) // memory)
        slots += int(min(room, node.get("GPU", 0) / gpu_share) if gpu_share else room)
    return slots


def task_slots(nodes: Sequence[Mapping[str, float]], memory: int, gpu_share: float, *, fixed: bool) -> int:
    """The same of nodes that others may join, unless they are `fixed`."""
    slots = slots_now(nodes, memory, gpu_share)
    return slots if fixed else max(slots, _TASKS_OF_A_CLUSTER // _TASKS_PER_SLOT)
