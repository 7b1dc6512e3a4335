"""What the driver hears of tasks that were tried again, and of those that failed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ggufactory.cluster.session import Session
from ggufactory.cluster.submit import Call, bind, options, run_all
from ggufactory.cluster.tasks import _attempts_before
from ggufactory.errors import GgufactoryError, TransientStoreError
from silent_watcher import SilentWatcher

pytestmark = pytest.mark.cluster

MIB = 1 << 20


def test_attempts_and_failures(local_ray: str, tmp_path: Path) -> None:
    import ray

    def second_time(error: Exception) -> int:
        marker = tmp_path / type(error).__name__
        if not marker.exists():
            marker.touch()
            raise error
        return _attempts_before()

    def busy_store() -> int:
        return second_time(TransientStoreError("the store is busy"))

    def full_gpu() -> int:
        return second_time(MemoryError("the GPU is full"))

    def never() -> None:
        raise GgufactoryError("poison")

    def first_time() -> int:
        return _attempts_before()

    how = options("quantize", memory=MIB)
    tasks = [ray.remote(function).options(**how) for function in (busy_store, never, first_time, full_gpu)]
    results: list[int] = []
    told: dict[str, GgufactoryError] = {}
    failed = run_all(
        Session(embedded=False),
        [(f"span {number}", task.remote) for number, task in enumerate(tasks)],
        MIB,
        results.append,
        SilentWatcher(),
        on_failure=told.__setitem__,
    )
    assert sorted(results) == [0, 1, 1]
    assert told == failed
    assert {name: error.message for name, error in failed.items()} == {"span 1": "poison"}


def test_what_a_task_leaves_undone_is_made_next(local_ray: str) -> None:
    """Whether it says so or dies; and that is no failure."""
    import ray

    def part_of_it(numbers: list[int]) -> list[int]:
        if len(numbers) > 1 and 5 in numbers:
            os._exit(1)
        return [number for number in numbers if number != 1 or len(numbers) == 1]

    def call(numbers: list[int]) -> tuple[str, Call]:
        asked[str(numbers)] = numbers
        return str(numbers), bind(task, numbers)

    def leftovers(name: str, result: list[int] | None) -> list[tuple[str, Call]]:
        numbers = asked.pop(name)
        return [call([n]) for n in numbers if n not in (result or ())] if len(numbers) > 1 else []

    asked: dict[str, list[int]] = {}
    task = ray.remote(part_of_it).options(**options("quantize", memory=MIB, retries=0))
    made: list[int] = []
    failed = run_all(
        Session(embedded=False),
        [call([0, 1, 2]), call([3]), call([4, 5])],
        MIB,
        made.extend,
        SilentWatcher(),
        on_failure=lambda name, error: pytest.fail(f"{name}: {error}"),
        leftovers=leftovers,
    )
    assert not failed
    assert sorted(made) == [0, 1, 2, 3, 4, 5]
