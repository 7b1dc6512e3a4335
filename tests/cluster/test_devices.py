"""What tasks quantize on: asked for, found, refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import emulated_cuda
import numpy as np
import pytest
import torch

import ggufactory_kernels as gk
from ggufactory.cluster.devices import WORKERS_PER_GPU, backend_of_worker, check_here, gpu_share
from ggufactory.cluster.session import Session
from ggufactory.cluster.submit import check_fits
from ggufactory.errors import InputError, UnavailableError
from ggufactory_kernels import backends, cuda, quantizer

SHARE = 1 / WORKERS_PER_GPU
WITH_GPU = {"CPU": 8.0, "memory": 1e9, "GPU": 1.0}
WITHOUT = {"CPU": 8.0, "memory": 1e9}


@dataclass
class Cluster:
    """Stands for a Session."""

    resources: list[Mapping[str, float]]

    def nodes(self) -> list[Mapping[str, float]]:
        return self.resources

    def describe_nodes(self) -> str:
        return f"{len(self.resources)} nodes"


@pytest.mark.parametrize(
    ("device", "nodes", "share"),
    [
        ("cpu", [WITH_GPU], 0),
        ("auto", [WITH_GPU, WITH_GPU], SHARE),
        ("auto", [WITH_GPU, WITHOUT], 0),
        ("auto", [WITHOUT], 0),
        ("auto", [], 0),
        ("cuda", [WITHOUT, WITH_GPU], SHARE),
    ],
)
def test_tasks_ask_for_a_part_of_a_gpu(device: str, nodes: list[Mapping[str, float]], share: float) -> None:
    assert gpu_share(Cluster(nodes), device) == share  # type: ignore[arg-type]


def test_a_cluster_without_a_gpu_is_refused() -> None:
    with pytest.raises(InputError, match="device cuda: no node has a GPU; the cluster has 2 nodes"):
        gpu_share(Cluster([WITHOUT, WITHOUT]), "cuda")  # type: ignore[arg-type]


def test_what_no_node_has_room_for_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node with a GPU and too little memory is of no use to a task on a GPU, nor one with memory and no GPU."""
    nodes = [{"CPU": 8.0, "memory": 1e9, "GPU": 1.0}, {"CPU": 8.0, "memory": 9e9}]
    monkeypatch.setattr(Session, "nodes", lambda _: nodes)
    check_fits(Session(embedded=True), 2 * 10**9, "")
    with pytest.raises(
        UnavailableError, match=r"wants 1 CPU, 0\.25 of a GPU and 2\.0 GB, .* has 8 CPUs, 1 GPUs and 1\.0"
    ):
        check_fits(Session(embedded=True), 2 * 10**9, "", SHARE)


def test_a_worker_uses_what_it_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str | None] = ["no driver"]
    monkeypatch.setattr(backends, "missing", lambda backend, type: found[0])
    assert backend_of_worker("auto", 0) == backend_of_worker("auto", SHARE) == "cpu"
    with pytest.raises(InputError, match="device cuda: a worker's node cannot serve it: no driver"):
        backend_of_worker("cuda", SHARE)
    with pytest.raises(InputError, match="device cuda: no driver"):
        check_here("cuda")
    check_here("auto")
    found[0] = None
    check_here("cuda")
    assert backend_of_worker("auto", SHARE) == backend_of_worker("cuda", SHARE) == "cuda"


def _use_emulation(library: Path, monkeypatch: pytest.MonkeyPatch) -> emulated_cuda.EmulatedGpu:
    """A GPU that works in main memory."""
    gpu = emulated_cuda.EmulatedGpu(library)
    monkeypatch.setattr(backends, "require_cuda", lambda type, isa: None)
    monkeypatch.setattr(quantizer, "on_gpu", lambda x, dtypes, what: torch.as_tensor(x))
    monkeypatch.setattr(cuda.driver, "gpu", lambda index: gpu)
    return gpu


def test_arrays_go_to_the_gpu_and_come_back(emulated_cuda_library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = _use_emulation(emulated_cuda_library, monkeypatch)
    x = np.random.default_rng(1).standard_normal((5, 512)).astype(np.float32)
    importance = np.ones(512, np.float32)
    wanted = gk.quantize(x, "Q5_1", importance)
    assert np.array_equal(gk.quantize(x, "Q5_1", importance, device="cuda"), wanted)
    assert torch.equal(gk.quantize(torch.from_numpy(x), "Q5_1", importance, device="cuda"), torch.from_numpy(wanted))
    out = bytearray(wanted.nbytes)
    gk.quantize_into(x.tobytes(), "F32", "Q5_1", 512, out, importance, device="cuda")
    assert bytes(out) == wanted.tobytes()
    assert gpu.launched.count("quantize_q5_1_weighted") == 3
    with pytest.raises(ValueError, match="device 'gpu' is unknown; known: cpu, cuda, auto"):
        gk.quantize(x, "Q5_1", device="gpu")


@pytest.mark.parametrize(
    ("raised", "becomes", "told"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
            MemoryError,
            "the GPU is full: CUDA out",
        ),
        (RuntimeError("CUDA error: out of memory\nmore"), MemoryError, "the GPU is full: CUDA error: out of memory$"),
        (RuntimeError("CUDA error: an illegal memory access"), RuntimeError, "^CUDA error: an illegal"),
    ],
    ids=["allocation", "context", "another fault"],
)
def test_a_full_gpu_is_a_memory_error(
    emulated_cuda_library: Path,
    monkeypatch: pytest.MonkeyPatch,
    raised: RuntimeError,
    becomes: type[Exception],
    told: str,
) -> None:
    _use_emulation(emulated_cuda_library, monkeypatch)

    def full(*_: object) -> torch.Tensor:
        raise raised

    monkeypatch.setattr(quantizer, "on_gpu", full)
    with pytest.raises(becomes, match=told):
        gk.quantize(np.ones((1, 32), np.float32), "Q8_0", device="cuda")
