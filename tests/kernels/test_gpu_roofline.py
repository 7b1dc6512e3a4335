"""The arithmetic of the GPU's records: instructions, rooflines, goals; none of it needs a GPU."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

import ggufactory_kernels as gk
from ggufactory.job import ladder_job
from ggufactory.job.job_spec import JobSpec

ROOT = Path(__file__).parents[2]


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    monkeypatch.syspath_prepend(ROOT / "ops" / "benchmarks")
    return {name: importlib.import_module(name) for name in ("gpu_operations", "gpu_roofline", "gpu_ladder")}


def test_instructions_are_counted_by_kind(scripts: dict[str, ModuleType]) -> None:
    executed = {"add.rn.f32": 64, "div.rn.f32": 2, "ld.shared.f32": 4, "shfl.sync.idx.b32": 3, "cvt.rn.f32.s32": 5}
    executed |= {"mov.b32": 1000, "ld.param.u64": 9, "setp.lt.f32": 6, "bra": 7, "bra.uni": 8}
    found = scripts["gpu_operations"].operations(executed, 32)
    assert (found.floats, found.divisions, found.memory, found.exchanges, found.others) == (70, 20, 4, 3, 12)
    assert found.total == 109


def test_every_kernel_has_been_counted(scripts: dict[str, ModuleType]) -> None:
    operations = scripts["gpu_operations"]
    kept = json.loads(operations.COUNTS.read_text())["operations"]
    labels = [operations.label(*case) for case in operations.cases()]
    assert list(kept) == labels
    assert set(scripts["gpu_roofline"].GOALS) <= set(labels)


def test_counts_of_other_sources_are_not_used(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    operations = scripts["gpu_operations"]
    kept = json.loads(operations.COUNTS.read_text())
    (tmp_path / "counts.json").write_text(json.dumps({**kept, "sources": operations.sources()}))
    monkeypatch.setattr(operations, "COUNTS", tmp_path / "counts.json")
    monkeypatch.setattr(operations, "counted", lambda: iter([("new", 1)]))
    assert list(operations.counts()) == list(kept["operations"])
    monkeypatch.setattr(operations, "sources", lambda: "changed")
    assert operations.counts() == {"new": 1}


def test_the_lower_of_two_rates_is_the_roofline(scripts: dict[str, ModuleType]) -> None:
    roofline = scripts["gpu_roofline"]
    device = roofline.Device("G", multiprocessors=10, clock=1e9, bandwidth=1e11)
    assert device.issue_rate == 1.28e12
    searching = roofline.Rate("Q4_K", 10e9, 1e9, bytes=4, instructions=64)
    assert searching.roofline(device) == roofline.Roofline(25e9, 20e9)
    assert searching.row(device) == ("Q4_K", "10.00", "1.00", "4.00", "64", "50 %", "instructions")
    assert roofline.Rate("Q8_0", 5e9, 1e9, bytes=10, instructions=64).row(device)[-2:] == ("50 %", "memory")


def test_a_missed_goal_says_what_bounds_it(scripts: dict[str, ModuleType]) -> None:
    roofline = scripts["gpu_roofline"]
    device = roofline.Device("G", multiprocessors=10, clock=1e9, bandwidth=1e11)

    def reached(label: str, resident: float, bytes: float, instructions: float) -> str:
        return str(roofline.goal_row(roofline.Rate(label, resident, 1, bytes, instructions), device)[-1])

    assert reached("Q4_K", 41e9, 1, 20) == "yes"
    assert reached("Q4_K", 31e9, 1, 32) == "no: instructions: 32 instructions for a weight allow 40.0 G"
    assert reached("Q4_K", 41e9, 1, 10).startswith("no: memory would allow 100.0 G; threads wait")
    assert reached("Q8_0", 30e9, 2, 20) == "yes"
    assert reached("Q8_0", 29e9, 2, 20) == "no: memory: 2.00 bytes for a weight allow 50.0 G"


def test_the_ladder_is_all_its_types(scripts: dict[str, ModuleType]) -> None:
    ladder, operations = scripts["gpu_ladder"], scripts["gpu_operations"]
    one = operations.Operations(1, 1, 1, 1, 1)
    rate = ladder.ladder_rate({operations.label(*case): one for case in operations.cases()}, 1e9, 5e8)
    assert rate.instructions == 5 * len(ladder.TYPES)
    assert rate.bytes == pytest.approx(
        2 * len(ladder.TYPES) + sum(ladder.moved_bytes(name, 0) for name in ladder.TYPES)
    )
    device = scripts["gpu_roofline"].Device("G", multiprocessors=1, clock=1e9, bandwidth=1e12)
    assert ladder.ladder_goal(rate, device)[-1] == "yes"
    slow = ladder.ladder_rate({operations.label(*case): one for case in operations.cases()}, 1e8, 5e8)
    assert ladder.ladder_goal(slow, device)[-1] == "no: instructions would allow 1.71 G"


def test_the_ladders_types_are_those_of_its_plan(
    scripts: dict[str, ModuleType], tinylm: str, tinylm_imatrix: str
) -> None:
    spec = JobSpec(source=tinylm, to="unused", ladder=("bartowski",), imatrix=(tinylm_imatrix,))
    plan = ladder_job.make_plan(spec)
    planned = {decision.type for rung in plan.rungs for decision in rung.decisions.values()}
    quantized = {name for name, type_ in gk.TENSOR_TYPES.items() if type_.is_quantized}
    assert planned & quantized <= set(scripts["gpu_ladder"].TYPES)
