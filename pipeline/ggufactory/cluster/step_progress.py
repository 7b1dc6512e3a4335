"""What the shares of a text have done, while the driver waits for them."""

from __future__ import annotations

from typing import Any, Protocol

import ray
from ray.exceptions import RayError

from ggufactory.cluster.steps import Steps
from ggufactory.cluster.submit import Waiter

_PATIENCE_SECONDS = 1.0


class Watcher(Waiter, Protocol):
    """Who is told how it goes."""

    def advanced(self, done: int, total: int) -> None: ...


class StepProgress:
    """A waiter that asks, whenever the driver waits, the actor that the shares tell. `steps`: that actor, for tasks."""

    def __init__(self, watcher: Watcher, shares: int) -> None:
        self._watcher = watcher
        self.steps: Any = ray.remote(Steps).options(num_cpus=0).remote(shares)

    def tick(self) -> None:
        self._watcher.tick()
        try:
            done, total = ray.get(self.steps.all.remote(), timeout=_PATIENCE_SECONDS)
        except RayError:
            return  # it is slow or gone; the work is not
        if total:
            self._watcher.advanced(done, total)

    def warn(self, message: str) -> None:
        self._watcher.warn(message)
