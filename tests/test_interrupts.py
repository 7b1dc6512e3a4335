"""Signals end a run at once, or as soon as what cannot bear them is over."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from ggufactory import interrupts
from ggufactory.interrupts import StoppedError


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    monkeypatch.setattr(interrupts._State, "waiting", None)
    interrupts.install()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def _send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_run_at_once(number: signal.Signals, code: int) -> None:
    with pytest.raises(StoppedError, match=number.name) as stopped:
        _send(number)
    assert stopped.value.exit_code == code


def test_held_back_until_the_outermost_block_ends() -> None:
    reached = []

    def run() -> None:
        with interrupts.held():
            with interrupts.held():
                _send(signal.SIGTERM)
            reached.append("inner block over")
        reached.append("outer block over")

    with pytest.raises(StoppedError):
        run()
    assert reached == ["inner block over"]


def test_a_held_signal_is_seen_by_check() -> None:
    reached = []

    def run() -> None:
        with interrupts.held():
            interrupts.check()
            _send(signal.SIGINT)
            reached.append("held")
            interrupts.check()
            reached.append("after check")

    with pytest.raises(StoppedError):
        run()
    assert reached == ["held"]


def test_a_signal_wins_over_the_error_it_meets() -> None:
    def run() -> None:
        with interrupts.held():
            _send(signal.SIGTERM)
            raise ValueError("lost connection")

    with pytest.raises(StoppedError):
        run()


def test_the_first_signal_begins_the_grace_and_the_second_ends_it() -> None:
    interrupts.install(grace=1000.0)
    seen: list[float | None] = []

    def run() -> None:
        with interrupts.held():
            seen.append(interrupts.grace_left())
            _send(signal.SIGTERM)
            seen.append(interrupts.grace_left())
            _send(signal.SIGTERM)
            seen.append(interrupts.grace_left())

    with pytest.raises(StoppedError):
        run()
    before, first, second = seen
    assert before is None
    assert first is not None
    assert 900 < first <= 1000
    assert second == 0


def test_a_guard_ends_the_run_at_the_next_check_and_not_after_its_block() -> None:
    def guard() -> None:
        raise ValueError("lost")

    with interrupts.guarded(guard), pytest.raises(ValueError, match="lost"):
        interrupts.check()
    interrupts.check()
