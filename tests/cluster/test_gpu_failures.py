"""GPUs that fail under workers: what counts as that, what is tried again, and what a job tells in the end."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ggufactory.cluster.gpu_failures import GpuFailure, backend_after, ending_the_process
from ggufactory.cluster.session import Session
from ggufactory.cluster.submit import options, run_all
from ggufactory.errors import GpuFailedError
from ggufactory_kernels.cuda.driver import DriverError
from ggufactory_kernels.cuda.gpu_errors import gpu_error
from silent_watcher import SilentWatcher

TESTS = Path(__file__).parents[1]
GOLDEN = json.loads((TESTS / "data" / "whole_files.json").read_text())["files"]["plain"]
RUNG = "Q8_0"
TOLD = "CUDA error: an illegal memory access was encountered"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.AcceleratorError(f"{TOLD}\nCUDA kernel errors might be reported later"), TOLD),
        (RuntimeError("CUDA driver error: uncorrectable ECC error"), "CUDA driver error: uncorrectable ECC error"),
        (DriverError("cuLaunchKernel: CUDA_ERROR_ILLEGAL_ADDRESS"), "cuLaunchKernel: CUDA_ERROR_ILLEGAL_ADDRESS"),
        (RuntimeError("The size of tensor a must match the size of tensor b"), None),
        (MemoryError("the GPU is full: CUDA error: out of memory"), None),
        (
            RuntimeError("Triton Error [CUDA]: unspecified launch failure"),
            "Triton Error [CUDA]: unspecified launch failure",
        ),
        (ValueError("CUDA error"), None),
    ],
    ids=["torch", "an older torch", "driver", "another runtime error", "full", "Triton", "another error"],
)
def test_which_errors_are_of_a_gpu(error: Exception, told: str | None) -> None:
    assert gpu_error(error) == told


def _failures(tasks: str, gpu: str = "0") -> list[GpuFailure]:
    return [GpuFailure(f"process {n}", task, "node", gpu, "host", TOLD) for n, task in enumerate(tasks)]


def test_a_gpu_is_tried_again_and_given_up() -> None:
    """By what breaks once for each of its four workers, it is not; nor by another's failures."""
    own = ("node", "0")
    for found in ([], _failures("abcd"), _failures("abcdefgh", gpu="1")):
        assert backend_after("auto", found, "x", own) == backend_after("cuda", found, "x", own) == "cuda"
    assert backend_after("auto", _failures("abcde"), "x", own) == "cpu"
    with pytest.raises(GpuFailedError, match=rf"device cuda: GPU 0 of node host: {TOLD}; it has failed 5 times"):
        backend_after("cuda", _failures("abcde"), "x", own)


def test_what_breaks_gpus_is_made_on_a_cpu() -> None:
    own = ("another node", "0")
    assert backend_after("auto", _failures("xa"), "x", own) == "cuda"
    assert backend_after("auto", _failures("xax"), "x", own) == "cpu"
    assert backend_after("cuda", _failures("xax"), "x", own) == "cuda", "it fails for good when Ray gives it up"


@pytest.mark.cluster
def test_a_process_ends_itself_and_says_why(local_ray: None, tmp_path: Path) -> None:
    import ray

    def fails(times: int, name: str) -> int:
        note = tmp_path / name
        with note.open("a") as file:
            file.write(f"{os.getpid()}\n")
        with ending_the_process():
            if len(note.read_text().splitlines()) <= times:
                raise torch.AcceleratorError(TOLD)
        return os.getpid()

    def raises() -> None:
        with ending_the_process():
            raise RuntimeError("of another kind")

    how = options("quantize", memory=1 << 20, retries=1)
    once, twice, never = (ray.remote(function).options(**how) for function in (fails, fails, raises))
    done: list[int] = []
    failed = run_all(
        Session(embedded=False),
        [
            ("once", lambda: once.remote(1, "once")),
            ("twice", lambda: twice.remote(2, "twice")),
            ("never", never.remote),
        ],
        1 << 20,
        done.append,
        SilentWatcher(),
    )
    first, second = map(int, (tmp_path / "once").read_text().split())
    assert done == [second] != [first]
    assert failed["twice"].message.startswith("GPU ? of node ")
    assert failed["twice"].message.endswith(f"): {TOLD}, and so in each of 2 attempts")
    assert failed["never"].message == "unexpected RuntimeError: of another kind"


_JOBS = """
import json, sys
import ray
from ray.cluster_utils import Cluster
import emulated_worker
from ggufactory.cluster import gpu_failures, tasks
from ggufactory.errors import GgufactoryError
from ggufactory.job import ladder_job
from ggufactory.job.job_spec import JobSpec
from silent_watcher import SilentWatcher

source, target, library, rung = sys.argv[1:]
ladder_job.check_here = lambda device: None
gpu_failures._OF_ONE_GPU = 1
tasks.task_slots = lambda *_, **__: 1
cluster = Cluster(
    initialize_head=True,
    head_node_args=dict(
        num_cpus=1, num_gpus=1, memory=8 * 10**9, object_store_memory=100 * 2**20, include_dashboard=False
    ),
)
told = {}
for name, device, breaks in (("once", "cuda", "once"), ("auto", "auto", "always"), ("always", "cuda", "always")):
    environment = {
        emulated_worker.LIBRARY: library,
        emulated_worker.NOTES: f"{target}/{name}-notes",
        emulated_worker.BREAKS: breaks,
        emulated_worker.LIMIT: "1",
    }
    ray.init(
        cluster.address,
        log_to_driver=False,
        runtime_env={"worker_process_setup_hook": "emulated_worker.install_breaking", "env_vars": environment},
    )
    watcher = SilentWatcher()
    told[name] = {"error": None}
    try:
        ladder_job.run(
            JobSpec(
                source=source, to=f"{target}/{name}", name="m", ladder=(rung,), span_bytes=100_000, device=device
            ),
            watcher,
        )
    except GgufactoryError as error:
        told[name]["error"] = [type(error).__name__, str(error)]
    told[name] |= {"receipts": [[r.backend, r.retries] for r in watcher.receipts], "warnings": watcher.warnings}
    ray.shutdown()
print(json.dumps(told))
cluster.shutdown()
"""


@pytest.fixture(scope="module")
def jobs(tinylm: str, tmp_path_factory: pytest.TempPathFactory, emulated_cuda_library: Path) -> tuple[Path, Any]:
    """Three on a cluster with one GPU, for one worker: the folder, and what each told."""
    folder = tmp_path_factory.mktemp("jobs")
    for name in ("once", "auto", "always"):
        (folder / f"{name}-notes").mkdir()
    path = os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(TESTS), str(TESTS / "kernels")])
    done = subprocess.run(
        [sys.executable, "-c", _JOBS, tinylm, folder, emulated_cuda_library, RUNG],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout.splitlines()[-1])


def _processes(folder: Path, job: str) -> int:
    """That have begun to use the GPU."""
    return len(list((folder / f"{job}-notes").glob("gpu-*")))


def _check_files(target: Path) -> None:
    assert hashlib.sha256((target / f"m-{RUNG}.gguf").read_bytes()).hexdigest() == GOLDEN[RUNG]["sha256"]


@pytest.mark.cluster
def test_a_job_goes_on_in_another_process(jobs: tuple[Path, Any]) -> None:
    folder, told = jobs
    assert told["once"]["error"] is None
    _check_files(folder / "once")
    receipts = told["once"]["receipts"]
    assert {backend for backend, _ in receipts} == {"cuda"}
    assert 1 <= sum(retries for _, retries in receipts) <= 4, "at most the spans of one task"
    assert _processes(folder, "once") == 2
    (warning,) = told["once"]["warnings"]
    assert warning.startswith("GPU 0 of node ")
    assert f"): {TOLD}. The worker's process was ended" in warning


@pytest.mark.cluster
def test_a_job_on_whatever_there_is_takes_the_cpu(jobs: tuple[Path, Any]) -> None:
    folder, told = jobs
    assert told["auto"]["error"] is None
    _check_files(folder / "auto")
    assert all(backend.startswith("cpu ") for backend, _ in told["auto"]["receipts"])
    assert _processes(folder, "auto") == 2
    assert told["auto"]["warnings"][-1].endswith("; the GPU is given up")


@pytest.mark.cluster
def test_a_job_for_gpus_only_ends_and_names_it(jobs: tuple[Path, Any]) -> None:
    folder, told = jobs
    kind, message = told["always"]["error"]
    assert kind == "GpuFailedError"
    assert message.startswith("device cuda: GPU 0 of node ")
    assert f"): {TOLD}; it has failed 2 times in this job. What is done is kept: start the same command" in message
    assert _processes(folder, "always") == 2
    assert not list((folder / "always").glob("*.gguf"))
