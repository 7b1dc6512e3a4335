"""A node of a real Ray cluster dies in the middle of a job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from ggufactory.cli import main
from job_process import JobProcess, stored_parts
from neighbour_cluster import neighbour_cluster

pytestmark = pytest.mark.cluster

_QUICK_HEALTH_CHECKS = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head that runs nothing, and two nodes of one CPU."""
    head = {"object_store_memory": 100 << 20, "_system_config": _QUICK_HEALTH_CHECKS}
    with neighbour_cluster(head, nodes=2) as made:
        yield made


def test_its_spans_are_made_elsewhere(
    cluster: Cluster, tmp_path: Path, tinylm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address is given as `ray job submit` gives it to its entry point."""
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    target = str(tmp_path / "out")
    arguments = ["quantize", tinylm, "--to", target, "--ladder", "Q8_0,Q4_K_M", "--span-size", "30K"]
    run = JobProcess.start(tmp_path / "log", *arguments)
    assert run.wait_until(lambda: sum(len(p) for p in stored_parts(target).values()) >= 10), run.text()
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    assert run.wait() == 0, run.text()
    assert main(["verify", target]) == 0


def test_a_cluster_that_cannot_run_a_span_is_said_so(tmp_path: Path, tinylm: str) -> None:
    """No node has a CPU: Ray would wait forever, the job says so and can be stopped."""
    with neighbour_cluster({}) as made:
        target = str(tmp_path / "out")
        arguments = ["quantize", tinylm, "--to", target, "--ladder", "Q8_0", "--ray-address", made.address]
        soon = "from ggufactory.cluster import submit; submit._WATCHDOG_SECONDS = 1.0"
        run = JobProcess.start(tmp_path / "log", *arguments, before=soon)
        assert run.wait_until(lambda: "no node can run a task" in run.text())
        assert "the cluster has 0 CPUs and" in run.text()
        run.kill()


def test_a_cluster_that_is_not_there(tmp_path: Path, tinylm: str) -> None:
    target = str(tmp_path / "out")
    arguments = ["quantize", tinylm, "--to", target, "--ladder", "Q8_0", "--ray-address", "127.0.0.1:1"]
    run = JobProcess.start(tmp_path / "log", *arguments)
    assert run.wait() == 4
    assert "Ray at 127.0.0.1:1 cannot be reached" in run.text()
    assert "Traceback" not in run.text()


def test_an_embedded_ray_is_its_own(cluster: Cluster, tmp_path: Path, tinylm: str) -> None:
    """A cluster that happens to run on this machine is not joined unless that is asked for."""
    run = JobProcess.start(tmp_path / "log", "quantize", tinylm, "--to", str(tmp_path / "out"), "--ladder", "Q8_0")
    assert run.wait() == 0, run.text()
