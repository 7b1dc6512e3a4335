"""What the driver hears of tasks that were tried again, and of those that failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ggufactory.cluster.session import Session
from ggufactory.cluster.submit import options, run_all
from ggufactory.cluster.tasks import _attempts_before
from ggufactory.errors import GgufactoryError, TransientStoreError
from silent_watcher import SilentWatcher

pytestmark = pytest.mark.cluster

MIB = 1 << 20


def test_attempts_and_failures(local_ray: None, tmp_path: Path) -> None:
    import ray

    marker = tmp_path / "tried"

    def second_time() -> int:
        if not marker.exists():
            marker.touch()
            raise TransientStoreError("the store is busy")
        return _attempts_before()

    def never() -> None:
        raise GgufactoryError("poison")

    def first_time() -> int:
        return _attempts_before()

    how = options("quantize", memory=MIB)
    tasks = [ray.remote(function).options(**how) for function in (second_time, never, first_time)]
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
    assert sorted(results) == [0, 1]
    assert told == failed
    assert {name: error.message for name, error in failed.items()} == {"span 1": "poison"}
