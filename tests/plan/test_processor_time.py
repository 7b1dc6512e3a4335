"""The estimate of processor time: measured rates, each type of a tensor once."""

from __future__ import annotations

from pathlib import Path

import pytest

import ggufactory_kernels as gk
from ggufactory.job.job_plan import make_plan
from ggufactory.job.job_spec import JobSpec
from ggufactory.observe.numbers import show_core_time
from ggufactory.plan.processor_time import (
    MILLION_WEIGHTS_PER_SECOND,
    SECONDS_PER_GB_WRITTEN,
    processor_seconds,
    quantizing_seconds,
)

RECORD = Path(__file__).parents[2] / "ops" / "benchmarks" / "2026-11-22-kernels.md"


def test_rates_are_those_of_the_record() -> None:
    recorded: dict[str, list[float | None]] = {}
    for line in RECORD.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 10 and cells[3] in ("no", "yes", "unused"):
            rates = recorded.setdefault(cells[1], [None, None])
            for weighed in (False, True):
                if cells[3] in ("unused", ("no", "yes")[weighed]):
                    rates[weighed] = float(cells[5].split()[0])
    assert {name: tuple(rates) for name, rates in recorded.items()} == dict(MILLION_WEIGHTS_PER_SECOND)
    assert set(MILLION_WEIGHTS_PER_SECOND) == {t for t in gk.TENSOR_TYPES if gk.quantizable(t)} - {"F32"}


def test_a_type_counts_once_and_a_copy_not_at_all(tinylm: str, tinylm_imatrix: str) -> None:
    def seconds(*ladder: str, imatrix: tuple[str, ...] = ()) -> float:
        return quantizing_seconds(make_plan(JobSpec(source=tinylm, ladder=ladder, imatrix=imatrix)))

    plan = make_plan(JobSpec(source=tinylm, ladder=("Q8_0",)))
    matrices = sum(t.rows * t.columns for t in plan.tensors if t.converted_type == "BF16")
    assert seconds("Q8_0") == pytest.approx(matrices / 1330.1e6)
    assert seconds("BF16") == 0
    # Q4_K_M has Q6_K for some tensors, which Q6_K makes of all.
    assert seconds("Q6_K", "Q4_K_M") < seconds("Q6_K") + seconds("Q4_K_M")
    assert seconds("Q4_K_M", imatrix=(tinylm_imatrix,)) > 1.5 * seconds("Q4_K_M")


def test_what_is_written_counts_beside_the_quantizers(tinylm: str) -> None:
    plan = make_plan(JobSpec(source=tinylm, ladder=("BF16",)))
    assert processor_seconds(plan) == pytest.approx(plan.rungs[0].bytes / 1e9 * SECONDS_PER_GB_WRITTEN)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.2, "1 core second"),
        (41.3, "42 core seconds"),
        (70, "1 core minute"),
        (90, "2 core minutes"),
        (5000, "1.4 core hours"),
        (86400, "24 core hours"),
        (4e7, "11,111 core hours"),
    ],
)
def test_shown_by_its_size(seconds: float, shown: str) -> None:
    assert show_core_time(seconds) == shown
