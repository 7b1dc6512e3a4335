"""Stages within stages, and several threads."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ggufactory.cluster import stage_clock
from ggufactory.cluster.stage_clock import StageClock


def test_an_inner_stage_counts_for_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 10.0, 13.0, 20.0, 21.0, 100.0])
    monkeypatch.setattr(stage_clock.time, "monotonic", lambda: next(times))
    clock = StageClock()
    with clock.inside("convert"):  # 0 to 100
        with clock.inside("read"):  # 10 to 13
            pass
        with clock.inside("read"):  # 20 to 21
            pass
    clock.add("quantize", 5)
    assert clock.seconds() == {"convert": 96, "read": 4, "quantize": 5}


def test_threads_add_up_and_do_not_nest_in_one_another() -> None:
    clock = StageClock()

    def work(_: int) -> None:
        with clock.inside("read"):
            time.sleep(0.02)

    with clock.inside("convert"), ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    seconds = clock.seconds()
    assert seconds["read"] >= 0.08
    assert seconds["convert"] > 0  # other threads took nothing off it


def test_an_exception_ends_the_stage() -> None:
    clock = StageClock()
    with pytest.raises(KeyError), clock.inside("convert"), clock.inside("read"):
        raise KeyError
    assert set(clock.seconds()) == {"convert", "read"}
