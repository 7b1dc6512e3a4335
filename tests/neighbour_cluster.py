"""A Ray cluster of several nodes that jobs in other processes join, while this process may have a Ray of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.cluster_utils import Cluster
from ray.experimental import internal_kv


@contextmanager
def neighbour_cluster(head: dict[str, Any], nodes: int = 0) -> Iterator[Cluster]:
    """`head`: Ray's arguments for a head that runs nothing; `nodes`: so many beside it, of one CPU."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **head})
    try:
        for _ in range(nodes):
            made.add_node(num_cpus=1, object_store_memory=100 << 20, memory=4 << 30)
        _give_back_key_value_store()
        yield made
    finally:
        made.shutdown()
        _give_back_key_value_store()


def _give_back_key_value_store() -> None:
    """Ray has one client of the key-value store for a process: whoever starts or ends a cluster takes it from the Ray
    that the process is joined to."""
    if ray.is_initialized():
        internal_kv._initialize_internal_kv(ray._private.worker.global_worker.gcs_client)
