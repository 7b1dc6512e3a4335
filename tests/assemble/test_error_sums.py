"""The errors that a plan has measured: kept in the target, and believed where they belong to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ggufactory.assemble import error_sums, uploads
from ggufactory.assemble.error_sums import ErrorSums, sums_name
from ggufactory.errors import InputError, UnavailableError
from ggufactory.job import ladder_job
from ggufactory.job.job_spec import JobSpec
from ggufactory.plan.plan import Plan
from ggufactory.plan.progress import Progress
from ggufactory.plan.tensor_errors import PieceErrors
from ggufactory.storage import open_store
from ggufactory.storage.protocol import Store

TENSOR = "blk.0.ffn_up.weight"


@pytest.fixture
def target(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "out"))


@pytest.fixture
def plan(target: Store, tinylm: str) -> Plan:
    return ladder_job.make_plan(
        JobSpec(source=tinylm, ladder=("Q8_0", "Q4_K_M"), to=target.uri, span_bytes=100_000), target
    )


def _piece(rows: int, error: float, kind: str = "Q8_0") -> PieceErrors:
    return PieceErrors(TENSOR, kind, False, rows, error, 100.0)


def _rows(plan: Plan) -> int:
    (rows,) = (tensor.rows for tensor in plan.tensors if tensor.name == TENSOR)
    return rows


def _of_rung(sums: ErrorSums, plan: Plan, number: int = 0) -> dict[str, float]:
    return sums.of_file(plan.rungs[number], plan.rungs[number].files[0])


def test_a_tensor_is_told_of_by_the_rows_that_were_measured(target: Store, plan: Plan) -> None:
    sums = ErrorSums(target, plan, plan.files)
    assert _of_rung(sums, plan) == {}
    sums.add(3, [_piece(_rows(plan) - 1, 3.0)])
    assert _of_rung(sums, plan) == {TENSOR: 0.1732}
    sums.add(3, [_piece(1, 1.0)])
    assert _of_rung(sums, plan) == {TENSOR: 0.1732}, "a span counts once, however often it is told"
    sums.add(4, [_piece(1, 1.0)])
    assert _of_rung(sums, plan) == {TENSOR: 0.1414}
    assert _of_rung(sums, plan, 1) == {}, "of another type nothing was measured"


def test_a_later_run_goes_on(target: Store, plan: Plan) -> None:
    first = ErrorSums.resume(target, plan, plan.files)
    with first.kept():
        for span in (0, 1, 2, 5):
            first.add(span, [_piece(_rows(plan) // 4, 0.1 * span)])
    second = ErrorSums.resume(target, plan, [plan.rungs[0].files[0].name])
    assert second.spans == {0, 1, 2, 5}
    assert _of_rung(second, plan) == _of_rung(first, plan) == {TENSOR: 0.04472}
    error_sums.forget(target, plan.fingerprint)
    assert ErrorSums.resume(target, plan, plan.files).spans == set()


def test_what_was_added_is_kept_when_the_run_fails(target: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    sums = ErrorSums(target, plan, plan.files)
    monkeypatch.setattr(error_sums, "_SECONDS_BETWEEN", 1e9)

    def fail() -> None:
        with sums.kept():
            for span in range(3):
                sums.add(span, [])
            assert ErrorSums.resume(target, plan, plan.files).spans == {0}, "not written for each"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert ErrorSums.resume(target, plan, plan.files).spans == {0, 1, 2}


def test_a_store_that_is_away_costs_nothing_until_the_end(
    target: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise UnavailableError("away")

    monkeypatch.setattr(target, "put", away)
    sums = ErrorSums(target, plan, plan.files)
    with pytest.raises(UnavailableError), sums.kept():
        sums.add(0, [])
    with pytest.raises(KeyboardInterrupt), sums.kept():
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (lambda value: None, {0}),
        # A rung that importance does not change has the same fingerprint with any matrix; its errors differ.
        (lambda value: value.update(matrix="0" * 64), set()),
        (lambda value: value.update(files=value["files"][:1]), set()),
    ],
)
def test_only_the_same_errors_are_gone_on_with(
    target: Store, plan: Plan, change: Callable[[dict[str, Any]], None], kept: set[int]
) -> None:
    _write(target, plan)
    _edit(target, plan, change)
    assert ErrorSums.resume(target, plan, plan.files).spans == kept


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.update(format=2),
        lambda value: value.update(plan="0" * 64),
        lambda value: value.update(spans=[[0, 1 << 40]]),
        lambda value: value.update(spans=[[-5, 1]]),
        lambda value: value.update(spans=[7]),
        lambda value: value.update(sums={}, files=3),
        lambda value: value["sums"][0].__setitem__(0, "no.such.tensor"),
        lambda value: value["sums"][0].__setitem__(2, 1),
        lambda value: value["sums"][0].__setitem__(3, 1 << 40),
        lambda value: value["sums"][0].__setitem__(4, [-1.0]),
        lambda value: value["sums"][0].__setitem__(4, [float("nan")]),
        lambda value: value["sums"][0].__setitem__(4, [1e308, 1e308]),
        lambda value: value["sums"][0].__setitem__(5, "many"),
        lambda value: value["sums"].append([]),
    ],
)
def test_damaged_sums_are_refused(target: Store, plan: Plan, change: Callable[[dict[str, Any]], None]) -> None:
    _write(target, plan)
    _edit(target, plan, change)
    with pytest.raises(InputError, match=r"-errors\.json does not hold the errors .*Delete it and start again"):
        ErrorSums.resume(target, plan, plan.files)


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"[" * 100_000, b"7"])
def test_other_objects_are_refused(target: Store, plan: Plan, data: bytes) -> None:
    target.put(sums_name(plan.fingerprint), data)
    with pytest.raises(InputError, match=r"-errors\.json does not hold"):
        ErrorSums.resume(target, plan, plan.files)
    assert error_sums.saved_at(target, sums_name(plan.fingerprint)) == 0.0


def test_they_go_with_the_plans_state(target: Store, plan: Plan) -> None:
    ends: list[Callable[[Progress], None]] = [
        lambda progress: uploads.end(target, plan),
        lambda progress: uploads.abandon(target, plan, progress),
    ]
    for end in ends:
        progress = uploads.begin(target, plan)
        _write(target, plan)
        assert [info.name for info in error_sums.list_kept(target)] == [sums_name(plan.fingerprint)]
        end(progress)
        assert target.list() == []


def _write(target: Store, plan: Plan) -> None:
    sums = ErrorSums(target, plan, plan.files)
    with sums.kept():
        sums.add(0, [_piece(2, 1.0)])


def _edit(target: Store, plan: Plan, change: Callable[[dict[str, Any]], None]) -> None:
    found = target.read(sums_name(plan.fingerprint), limit=1 << 20)
    assert found is not None
    value = json.loads(found[0])
    change(value)
    target.put(sums_name(plan.fingerprint), json.dumps(value).encode())
