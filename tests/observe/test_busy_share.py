"""The share of the CPUs that makes spans, by a clock of its own."""

from __future__ import annotations

import pytest

from ggufactory.observe.busy_share import BusyShare


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_of_the_time_so_far(clock: Clock) -> None:
    busy = BusyShare(clock)
    assert busy.share(4) == 0
    clock.now = 100
    busy.add(seconds=50, cpu_seconds=40)
    assert busy.share(4) == pytest.approx(0.1)
    assert busy.share(0) == 0


def test_what_is_long_ago_does_not_count(clock: Clock) -> None:
    busy = BusyShare(clock)
    clock.now = 100
    busy.add(seconds=60, cpu_seconds=60)
    clock.now = 370  # the window begins at 70: half of the span lies before it
    assert busy.share(1) == pytest.approx(30 / 300)
    clock.now = 400
    assert busy.share(1) == 0


def test_long_spans_widen_the_window(clock: Clock) -> None:
    busy = BusyShare(clock)
    clock.now = 1000
    busy.add(seconds=1000, cpu_seconds=500)
    assert busy.share(1) == pytest.approx(0.5)


def test_a_span_that_took_no_time(clock: Clock) -> None:
    busy = BusyShare(clock)
    clock.now = 10
    busy.add(seconds=0, cpu_seconds=1)
    assert busy.share(1) == pytest.approx(0.1)
