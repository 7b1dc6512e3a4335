"""A job on a cluster where one node's GPU works, emulated, and another's does not."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
GOLDEN = json.loads((TESTS / "data" / "whole_files.json").read_text())["files"]["plain"]
RUNGS = ("Q8_0", "Q4_K_M")

pytestmark = pytest.mark.cluster

_JOB = """
import json, os, sys
import ray
from ray.cluster_utils import Cluster
import emulated_worker
from ggufactory.job import ladder_job
from ggufactory.job.job_spec import JobSpec
from silent_watcher import SilentWatcher

source, target, library, notes, *rungs = sys.argv[1:]
node = dict(num_cpus=1, num_gpus=1, memory=8 * 10**9, object_store_memory=100 * 2**20, include_dashboard=False)
noted = {emulated_worker.NOTES: notes}
cluster = Cluster(initialize_head=True, head_node_args={**node, "env_vars": noted})
cluster.add_node(**node, env_vars={**noted, emulated_worker.LIBRARY: library})
ray.init(
    cluster.address,
    log_to_driver=False,
    runtime_env={"worker_process_setup_hook": "emulated_worker.install"},
)
watcher = SilentWatcher()
ladder_job.run(JobSpec(source=source, to=target, name="m", ladder=tuple(rungs), span_bytes=100_000), watcher)
print(json.dumps([[r.backend, r.retries, sorted(r.stages)] for r in watcher.receipts]))
ray.shutdown()
cluster.shutdown()
"""


def test_gives_the_same_files(tinylm: str, tmp_path: Path, emulated_cuda_library: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    target = tmp_path / "out"
    command = [sys.executable, "-c", _JOB, tinylm, target, emulated_cuda_library, notes, *RUNGS]
    path = os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(TESTS), str(TESTS / "kernels")])
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path}, timeout=240
    )
    assert done.returncode == 0, done.stderr
    receipts = json.loads(done.stdout.splitlines()[-1])
    for rung in RUNGS:
        assert hashlib.sha256((target / f"m-{rung}.gguf").read_bytes()).hexdigest() == GOLDEN[rung]["sha256"]
    on_gpu = [stages for backend, _, stages in receipts if backend == "cuda"]
    on_cpu = [stages for backend, _, stages in receipts if backend != "cuda"]
    assert on_gpu
    assert on_cpu
    assert any({"to_device", "from_device"} <= set(stages) for stages in on_gpu)
    assert not any("to_device" in stages for stages in on_cpu)
    # Processes live on from task to task, and with them what they have on the GPU.
    begun = [note.read_text() for note in notes.glob("gpu-*")]
    assert begun == ["begun\n"]
    assert len(on_gpu) > 1
