"""How a calibration is divided: whole groups, and by what moves fewer bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ggufactory.calibrate.distribution import Workload, distribute, ranges

GROUP = 4
LLAMA_8B = Workload(16 << 30, 65536 * 4096 * 4, layers=32, groups=32, workers=2)
DEEPSEEK = Workload(689 << 30, 65536 * 7168 * 4, layers=61, groups=32, workers=8)


@given(st.integers(1, 500), st.integers(1, 40), st.integers(1, 40))
def test_ranges_are_whole_groups_of_all_chunks(chunks: int, group: int, shares: int) -> None:
    found = ranges(chunks, group, shares)
    assert [a for a, _ in found] == [0, *(b for _, b in found[:-1])]
    assert found[-1][1] == chunks
    assert all(a < b and a % group == 0 for a, b in found)
    assert len(found) == min(shares, -(-chunks // group))


def test_few_workers_read_a_small_model_each() -> None:
    found = distribute(None, LLAMA_8B, 0, 128, GROUP)
    assert (found.way, found.shares) == ("chunks", ((0, 64), (64, 128)))
    assert "GB" in found.reason


def test_a_large_model_is_read_once() -> None:
    found = distribute(None, DEEPSEEK, 0, 128, GROUP)
    assert (found.way, found.shares) == ("layers", ((0, 128),))


def test_costs_without_idle_workers_are_the_bytes() -> None:
    """Two workers, as many groups as divide evenly, and a pipeline so long that filling it does not count."""
    assert LLAMA_8B.cost_of_chunks == 2 * (16 << 30)
    long = Workload(10**9, 10**6, layers=2, groups=10**9, workers=2)
    assert long.cost_of_layers == pytest.approx(10**9 + 2 * 10**6, rel=1e-6)


def test_idle_workers_cost() -> None:
    """Of three groups two workers take two and one; and eight workers have three groups to hand on."""
    assert Workload(100, 1, 10, 3, 2).cost_of_chunks == pytest.approx(200 * 4 / 3)
    one_group_in_flight = Workload(100, 0, layers=8, groups=1, workers=8)
    assert one_group_in_flight.cost_of_layers == 800


def test_what_the_user_wants_is_done() -> None:
    found = distribute("layers", LLAMA_8B, 8, 136, GROUP)
    assert (found.way, found.shares, found.reason) == ("layers", ((8, 136),), "as asked for")


def test_one_worker_has_one_share() -> None:
    found = distribute("layers", Workload(1, 1, 4, 9, workers=1), 3, 40, GROUP)
    assert (found.way, found.shares) == ("chunks", ((3, 40),))
