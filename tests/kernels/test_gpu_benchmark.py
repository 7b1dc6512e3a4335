"""The GPU's benchmark from end to end, on the kernels' source run by the CPU: what it records, and what it refuses."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from emulated_cuda import EmulatedGpu

import ggufactory_kernels as gk
from ggufactory_kernels import backends, cuda
from ggufactory_kernels.cuda.tensors import dequantize_tensor, quantize_tensor

pytest.importorskip("triton", reason="Triton has no wheel for this machine")
ROOT = Path(__file__).parents[2]
WEIGHTS = 1024
COMMAND = ["--weights", str(WEIGHTS), "--columns", "256", "--rounds", "1"]
COPY_SECONDS, SECONDS = 1e-9, 1e-5


class EmulatedBench:
    """Main memory for a GPU's. What takes how long is made up: the first call, a copy, is the fastest."""

    device = "cpu"

    def __init__(self, library: Path, facts: Any) -> None:
        self.gpu = EmulatedGpu(library)
        self._facts = facts
        self._calls = 0

    def facts(self) -> Any:
        return self._facts

    def pinned(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(tuple(shape), dtype=dtype)

    def quantize(self, x: torch.Tensor, type_: str, importance: np.ndarray | None) -> torch.Tensor:
        return quantize_tensor(x, gk.TENSOR_TYPES[type_], importance, self.gpu)

    def dequantize(self, packed: torch.Tensor, type_: str, columns: int) -> torch.Tensor:
        return dequantize_tensor(packed, gk.TENSOR_TYPES[type_], columns, self.gpu)

    def seconds(self, call: Callable[[], object], rounds: int) -> float:
        call()
        self._calls += 1
        return COPY_SECONDS if self._calls == 1 else SECONDS


@pytest.fixture(scope="module")
def scripts() -> Any:
    """The benchmark's modules by name, with the counts of instructions as they are kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "ops" / "benchmarks")
        names = ("gpu_kernels", "gpu_device", "gpu_operations", "gpu_roofline", "gpu_moving")
        found = {name: importlib.import_module(name) for name in names}
        operations = found["gpu_operations"]
        kept = json.loads(operations.COUNTS.read_text())["operations"]
        counts = {name: operations.Operations(**each) for name, each in kept.items()}
        patch.setattr(found["gpu_kernels"], "counts", lambda: counts)
        yield found


@pytest.fixture(scope="module")
def bench(scripts: dict[str, ModuleType], emulated_cuda_library: Path) -> EmulatedBench:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU: make bench-gpu measures it")
    facts = scripts["gpu_device"].Facts("GPU of the tests", 2, 1.5e9, 80 << 30, "13.2")
    return EmulatedBench(emulated_cuda_library, facts)


@pytest.fixture(scope="module")
def record(scripts: dict[str, ModuleType], bench: EmulatedBench, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("record")
    script = scripts["gpu_kernels"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["gpu_kernels.py", *COMMAND])
        script.run(bench, script._options(COMMAND), folder)
    (path,) = folder.iterdir()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-gpu-kernels\.md", path.name)
    return path.read_text()


def _table(record: str, first_title: str, second_title: str) -> dict[str, list[str]]:
    """The rows of the table with these titles, by their first cells."""
    (found,) = [part for part in record.split("\n\n") if part.startswith(f"| {first_title} | {second_title}")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in found.splitlines()[2:]]
    assert all(cell for row in rows for cell in row)
    assert len({row[0] for row in rows}) == len(rows)
    return {row[0]: row[1:] for row in rows}


def _labels(scripts: dict[str, ModuleType]) -> list[str]:
    operations = scripts["gpu_operations"]
    return [*(operations.label(*case) for case in operations.cases()), "the ladder: 15 types"]


def test_every_type_and_the_ladder_are_measured_both_ways(record: str, scripts: dict[str, ModuleType]) -> None:
    rates = _table(record, "type", "on the GPU")
    assert list(rates) == _labels(scripts)
    for resident, sent, bytes_, instructions, share, bound in rates.values():
        assert resident == sent == f"{WEIGHTS / SECONDS / 1e9:.2f}"
        assert float(bytes_) > 2
        assert int(instructions) > 0
        assert share.endswith(" %")
        assert bound in ("memory", "instructions")


def test_every_goal_is_listed_with_what_bounds_it(record: str, scripts: dict[str, ModuleType]) -> None:
    """None is reached here."""
    goals, figures = _table(record, "type", "goal"), scripts["gpu_roofline"].GOALS
    assert list(goals) == _labels(scripts)
    for name, (goal, _, _, _, reached) in goals.items():
        assert re.match(r"no: (memory|instructions)(:| would allow) .*[0-9.]+ G", reached), name
        if name in figures:
            assert goal == f"{figures[name]:g} G, 50 % of the roofline"
    assert goals["Q8_0"][0] == "60 % of a copy"
    assert goals["Q4_0 with importance"][0] == "50 % of the roofline"
    assert goals["the ladder: 15 types"][0] == "0.4 G source weights"


def test_what_moves_bytes_is_measured_against_a_copy(record: str) -> None:
    moved = _table(record, "what", "weights")
    assert [f"dequantize {name}" for name in cuda.KERNEL_TYPES] == list(moved)[: len(cuda.KERNEL_TYPES)]
    assert list(moved)[len(cuda.KERNEL_TYPES) :] == [
        *("FP8, a scale for 128 x 128", "the same, rows in another order", "FP8, a scale for a row"),
        *("MXFP4", "NVFP4", "GPTQ, 4 bits", "AWQ"),
        *("squares by column", "squares by column of 8 experts"),
    ]
    assert moved["dequantize Q8_0"][1] == "5.06"
    assert moved["MXFP4"][1] == "2.53"
    assert all(share.endswith(" %") for _, _, share in moved.values())


def test_the_record_says_on_what_and_of_which_commit(record: str) -> None:
    facts = _table(record, "machine", "")
    assert facts["GPU"] == ["GPU of the tests, 2 multiprocessors, 80 GiB"]
    assert facts["CUDA"][0].startswith("driver 13.2, NVRTC ")
    assert re.fullmatch(r"[0-9a-f]{7,}|unknown", facts["commit"][0])
    assert facts["command"] == ["python ops/benchmarks/gpu_kernels.py " + " ".join(COMMAND)]
    assert all(f"{package} " in facts["Python"][0] for package in ("torch", "triton", "cuda-bindings"))


def test_wrong_bytes_are_not_timed(
    scripts: dict[str, ModuleType], bench: EmulatedBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.ones(4, 256, dtype=torch.bfloat16)
    quantize, dequantize = bench.quantize, bench.dequantize
    verify = scripts["gpu_kernels"].verify
    verify(bench, x, "Q8_0", None)
    monkeypatch.setattr(bench, "dequantize", lambda *arguments: dequantize(*arguments) + 1)
    with pytest.raises(SystemExit, match="Q8_0: dequantized values differ"):
        verify(bench, x, "Q8_0", None)
    monkeypatch.setattr(bench, "quantize", lambda *arguments: quantize(*arguments) ^ 1)
    with pytest.raises(SystemExit, match="block 0"):
        verify(bench, x, "Q8_0", None)


def test_wrong_numbers_of_triton_are_not_timed(
    scripts: dict[str, ModuleType], bench: EmulatedBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    moving = scripts["gpu_moving"]
    right = moving.triton_ops.decode_nvfp4
    monkeypatch.setattr(moving.triton_ops, "decode_nvfp4", lambda *arguments: right(*arguments) * 2)
    with pytest.raises(SystemExit, match="NVFP4: the values differ from torch's"):
        list(moving.measure_triton(bench, 128, 256, 1))


def test_without_a_gpu_it_says_why(scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "missing", lambda backend, type: "no driver")
    with pytest.raises(SystemExit, match=r"^nothing was measured: no driver$"):
        scripts["gpu_kernels"].main(COMMAND)
