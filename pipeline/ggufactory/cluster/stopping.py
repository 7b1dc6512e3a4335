"""Telling tasks that wait in Ray's queues that they need not begin any more.

Ray starts queued tasks as long as the driver lives, and cancelling them one by one can crash the driver
when one completes at the same moment (seen with 2.60). So a driver that stops leaves a note in the
cluster's key-value store, which every task of the job reads as it begins: one small request each.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_exists, _internal_kv_put

_NAMESPACE = "ggufactory"


@contextmanager
def asked() -> Iterator[None]:
    """In the driver. Inside, tasks of this job that begin return None at once."""
    _internal_kv_put(_key(), b"1", namespace=_NAMESPACE)
    try:
        yield
    finally:
        _internal_kv_del(_key(), namespace=_NAMESPACE)


def is_asked() -> bool:
    """In a task: whether its driver is stopping."""
    return bool(_internal_kv_exists(_key(), namespace=_NAMESPACE))


def _key() -> str:
    """The same in the driver and in its tasks, another for every job of a cluster."""
    return f"stopping-{ray.get_runtime_context().get_job_id()}"
