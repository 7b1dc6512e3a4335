"""A Ray to run on: one that is there, or an embedded one that lives as long as the job."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.job_config import JobConfig

from ggufactory import interrupts
from ggufactory.errors import UnavailableError

_OBJECT_STORE_BYTES = 256 << 20
"""An embedded Ray's: it carries headers and importance, never weights."""

_CONNECT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Session:
    """`embedded`: the machine is all there is, so what does not fit now never will. `dashboard`: the URL of
    Ray's, where it has one and told it."""

    embedded: bool
    dashboard: str | None = None

    def nodes(self) -> list[dict[str, float]]:
        """The resources of every node that is alive."""
        return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]

    def cpus(self) -> int:
        """Of all nodes; 1 at least."""
        return max(int(sum(node.get("CPU", 0) for node in self.nodes())), 1)

    def fits(self, cpus: float, memory: int, gpus: float = 0.0) -> bool:
        """Whether any node could ever run a task of this size."""
        return any(
            n.get("CPU", 0) >= cpus and n.get("memory", 0) >= memory and n.get("GPU", 0) >= gpus for n in self.nodes()
        )

    def describe_nodes(self) -> str:
        """For messages: what the cluster offers."""
        return ", ".join(_describe(node) for node in self.nodes()) or "no node"


def _describe(node: Mapping[str, float]) -> str:
    gpus = f", {node['GPU']:g} GPUs" if node.get("GPU") else ""
    return f"{node.get('CPU', 0):g} CPUs{gpus} and {node.get('memory', 0) / 1e9:.1f} GB"


@contextmanager
def open_session(
    address: str | None,
    workers: int | None,
    shared_bytes: int,
    *,
    dashboard: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> Iterator[Session]:
    """Join the Ray at `address` (or of the surrounding `ray job submit`), else start one on this machine.

    `workers`: how many spans an embedded Ray runs at once (None: one per core); `shared_bytes`: what
    the job puts into the object store; `dashboard`: whether an embedded Ray serves one; `metadata`: what
    Ray's dashboard shows of the job. UnavailableError when the cluster cannot be reached.
    """
    if ray.is_initialized():
        yield Session(embedded=False)
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray takes SIGTERM for itself and dies of it; the job has to end in order, with its own exit code.
    handler = signal.getsignal(signal.SIGTERM)
    joined = address or os.environ.get("RAY_ADDRESS")
    if joined:
        _check_reachable(joined)
    try:
        with interrupts.held():
            url = _start(joined, workers, shared_bytes, dashboard, JobConfig(metadata=dict(metadata or {})))
    except Exception as error:
        # Of a node that did not start in time, Ray says so by an Exception and no more.
        if (
            not isinstance(error, ConnectionError | RuntimeError | ValueError | OSError)
            and type(error) is not Exception
        ):
            raise
        raise _unreachable(f"Ray at {joined}" if joined else "an embedded Ray", error) from error
    _handle_sigterm(handler)
    try:
        yield Session(embedded=not joined, dashboard=f"http://{url}" if url else None)
    finally:
        with interrupts.held():
            ray.shutdown()
            _handle_sigterm(handler)  # which Ray, as it ends, sets back to what ends the process


def _handle_sigterm(handler: Any) -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def _start(
    address: str | None, workers: int | None, shared_bytes: int, dashboard: bool, job_config: JobConfig
) -> str | None:
    """Host and port of the dashboard, where there is one."""
    if address:
        joined = ray.init(address=address, job_config=job_config, log_to_driver=False, logging_level=logging.ERROR)
        return joined.dashboard_url or None
    # Without this address Ray would join whatever cluster was last started on the machine.
    started = ray.init(
        address="local",
        num_cpus=workers or os.cpu_count() or 1,
        object_store_memory=_OBJECT_STORE_BYTES + 2 * shared_bytes,
        include_dashboard=dashboard,
        job_config=job_config,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    return started.dashboard_url or None


def _check_reachable(address: str) -> None:
    """Ray itself tries for minutes before it gives up on an address where nobody listens."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return  # "auto" and the like: Ray looks the address up, and is quick about it
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        raise _unreachable(f"Ray at {address}", error) from error


def _unreachable(where: str, error: Exception) -> UnavailableError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    fix = "Check --ray-address, and that the cluster runs the same release of Ray and Python"
    return UnavailableError(f"{where} cannot be reached: {reason}", fix=fix)
