"""A job on this machine's GPU: the files are llama.cpp's, and memory is as planned."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from ggufactory.cluster.devices import WORKERS_PER_GPU
from ggufactory.job import ladder_job
from ggufactory.job.job_spec import JobSpec
from ggufactory.plan.device_memory import task_bytes
from ggufactory_kernels import cuda
from silent_watcher import SilentWatcher
from synthetic import write_llama_checkpoint

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "whole_files.json").read_text())["files"]
RUNGS = ("Q8_0", "Q6_K", "Q4_K_M", "IQ4_XS", "IQ3_S")

pytestmark = [pytest.mark.gpu, pytest.mark.cluster]


@pytest.fixture(autouse=True)
def _gpu() -> None:
    missing = cuda.missing()
    if missing is not None:
        pytest.skip(f"CUDA kernels cannot run here: {missing}")


def _run(source: str, target: Path, **more: object) -> tuple[ladder_job.Result, SilentWatcher]:
    watcher = SilentWatcher()
    spec = JobSpec(source=source, to=str(target), name="tinylm", ladder=RUNGS, device="cuda", **more)  # type: ignore[arg-type]
    result = ladder_job.run(spec, watcher)
    assert {receipt.backend for receipt in watcher.receipts} == {"cuda"}
    assert not watcher.warnings
    return result, watcher


def test_gives_the_files(tinylm: str, tinylm_imatrix: str, tmp_path: Path) -> None:
    _, watcher = _run(tinylm, tmp_path, imatrix=(tinylm_imatrix,), span_bytes=200_000)
    for rung in RUNGS:
        found = hashlib.sha256((tmp_path / f"tinylm-{rung}.gguf").read_bytes()).hexdigest()
        assert found == GOLDEN["imatrix"][rung]["sha256"], rung
    assert any({"to_device", "from_device"} <= receipt.stages.keys() for receipt in watcher.receipts)


@contextmanager
def _taken_at_most(found: list[int]) -> Iterator[None]:
    """Bytes of the GPU that others have taken inside, looked at ten times a second."""
    ended, before = threading.Event(), torch.cuda.mem_get_info()[0]
    least = [before]

    def look() -> None:
        while not ended.wait(0.1):
            least[0] = min(least[0], torch.cuda.mem_get_info()[0])

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        found.append(before - least[0])


def test_memory_is_within_the_plan(tmp_path: Path) -> None:
    """Of the GPU and of its node, whose figures were counted or assumed before any GPU was at hand."""
    source, taken = tmp_path / "model", list[int]()
    write_llama_checkpoint(source, layers=6, hidden=2048, intermediate=8192, heads=16, kv_heads=4, vocab=8192, shards=2)
    with _taken_at_most(taken):
        result, watcher = _run(str(source), tmp_path / "out")
    assert taken[0] <= WORKERS_PER_GPU * result.plan.device_bytes
    assert max(receipt.peak_rss for receipt in watcher.receipts) <= task_bytes(result.plan.worker_bytes, 1)
