"""What workers measure of a span, against the weights that the finished file holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from ggufactory.architectures import describe
from ggufactory.assemble import uploads
from ggufactory.assemble.error_sums import ErrorSums
from ggufactory.checkpoint import open_checkpoint
from ggufactory.cluster.descriptor import PieceWork, SpanReceipt, SpanWork
from ggufactory.cluster.piece_errors import ErrorMeter, Packing
from ggufactory.cluster.piece_rows import HostRows
from ggufactory.cluster.span_pipeline import make_span
from ggufactory.cluster.span_reader import HeldTile, SpanReader
from ggufactory.cluster.stage_clock import StageClock
from ggufactory.cluster.tasks import _importance
from ggufactory.cluster.work import count_missing, missing_spans
from ggufactory.job import ladder_job
from ggufactory.job.job_spec import JobSpec
from ggufactory.plan.plan import Plan
from ggufactory.plan.progress import Progress
from ggufactory.plan.tensor_errors import PieceErrors
from ggufactory.storage import open_store
from made_ladders import independent_errors

LADDER = ("BF16", "Q8_0", "Q4_K_M", "IQ2_M")


@pytest.fixture
def plan(tmp_path: Path, tinylm: str, tinylm_imatrix: str) -> Plan:
    spec = JobSpec(
        source=tinylm, ladder=LADDER, to=str(tmp_path / "out"), imatrix=(tinylm_imatrix,), span_bytes=300_000
    )
    return ladder_job.make_plan(spec, open_store(str(tmp_path / "out")))


def _make(plan: Plan, spans: Sequence[SpanWork]) -> list[SpanReceipt]:
    headers = {file.name: plan.header(rung, file) for rung in plan.rungs for file in rung.files}
    importance = _importance(plan)
    return [
        make_span(work, {p.upload.name: headers[p.upload.name] for p in work.parts if p.header_bytes}, importance)
        for work in spans
    ]


def _store(progress: Progress, receipts: Sequence[SpanReceipt]) -> None:
    for receipt in receipts:
        for name, part in receipt.parts:
            progress.parts[name][part.number] = part


def _of_files(plan: Plan, target: str, receipts: Sequence[SpanReceipt]) -> dict[str, dict[str, float]]:
    sums = ErrorSums(open_store(target), plan, plan.files)
    for receipt in receipts:
        sums.add(receipt.index, receipt.errors)
    return {rung.name: sums.of_file(rung, rung.files[0]) for rung in plan.rungs}


def test_every_tensor_of_a_ladder(plan: Plan, tmp_path: Path, tinylm_imatrix: str) -> None:
    """Weighted by importance where there is some, whether the type uses it or not; whatever the order of spans."""
    target = str(tmp_path / "out")
    progress = uploads.begin(open_store(target), plan)
    receipts = _make(plan, list(missing_spans(plan, progress, target)))
    assert len(receipts) > 20
    _store(progress, receipts)
    for file in plan.files.values():
        uploads.complete(open_store(target), file, progress)
    wanted = independent_errors(Path(target), "tinylm", LADDER, tinylm_imatrix)
    assert {rung: len(errors) for rung, errors in wanted.items()} == {"BF16": 0, "Q8_0": 30, "Q4_K_M": 30, "IQ2_M": 30}
    assert _of_files(plan, target, receipts) == wanted
    assert _of_files(plan, target, receipts[::-1]) == wanted


def test_a_type_is_measured_once_in_a_span(plan: Plan, tmp_path: Path) -> None:
    target = str(tmp_path / "out")
    progress = uploads.begin(open_store(target), plan)
    (receipt,) = _make(plan, [next(missing_spans(plan, progress, target))])
    told = [(e.tensor, e.type, e.weighted) for e in receipt.errors]
    assert len(told) == len(set(told)) == receipt.quantizations
    assert receipt.stages["measure"] > 0


def test_stored_spans_are_not_read_again(plan: Plan, tmp_path: Path) -> None:
    """Unless a part is missing: then what the others lose is measured as well, and they are not stored again."""
    target = str(tmp_path / "out")
    progress = uploads.begin(open_store(target), plan)
    first = _make(plan, list(missing_spans(plan, progress, target)))
    wanted = _of_files(plan, target, first)
    _store(progress, first[:12])
    del progress.parts["tinylm-Q4_K_M.gguf"][5]
    progress.measured = {0, 1, 2}
    left = {work.index: work for work in missing_spans(plan, progress, target)}
    assert count_missing(plan, progress) == len(left)
    assert [len(left[index].parts) for index in (4, 12)] == [1, len(LADDER)]
    assert left.keys() == {4, *range(12, len(plan.spans))}
    second = _make(plan, list(left.values()))
    assert second[0].parts == first[4].parts[2:3]
    assert [set(r.errors) for r in second] == [set(r.errors) for r in (first[4], *first[12:])]
    told = _of_files(plan, target, [*first[:3], *second])
    assert told.keys() == wanted.keys()
    for rung, errors in wanted.items():
        assert 0 < len(told[rung]) <= len(errors) or not errors
        assert told[rung] == pytest.approx({tensor: errors[tensor] for tensor in told[rung]}, rel=0.2)
    progress.measured = {*progress.measured, 4}
    assert not next(missing_spans(plan, progress, target)).only_measured


def test_finished_files_are_not_measured(plan: Plan, tmp_path: Path) -> None:
    target = str(tmp_path / "out")
    progress = uploads.begin(open_store(target), plan)
    _store(progress, _make(plan, list(missing_spans(plan, progress, target))))
    for name in list(progress.uploads):
        progress.finished[name] = uploads.complete(open_store(target), plan.files[name], progress)
        del progress.uploads[name], progress.parts[name]
    assert count_missing(plan, progress) == 0


class _Rows:
    """A reader whose rows are all there, in two tiles."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows.view(np.uint8)

    def tiles(self, _: int) -> list[HeldTile]:
        return [HeldTile(start, stop, self.rows[start:stop]) for start, stop in ((0, 12), (12, len(self.rows)))]


def test_each_matrix_of_a_stack_has_importance_of_its_own(tinylm: str) -> None:
    """Rows that lie over the border of two matrices, from the middle of the first."""
    described = describe(open_checkpoint(tinylm)).tensors[0]
    rng = np.random.default_rng(3)
    piece = PieceWork("stack", 64, 5, 25, 10, "F32", described.sources, 0, None, None, None, False)
    held, importance = rng.standard_normal((20, 64)).astype(np.float32), rng.random((3, 64), np.float32)
    meter, out = ErrorMeter((piece,)), np.empty((20, 128), np.uint8)
    rows = HostRows((piece,), cast("SpanReader", _Rows(held)), {"stack": importance}, meter, StageClock())
    rows.make(Packing(0, "F16", False), out)
    rows.make(Packing(0, "F32", False), np.empty((20, 256), np.uint8))
    (found,) = meter.report()
    w = importance[np.arange(5, 25) // 10].astype(np.float64)
    x, y = held.astype(np.float64), out.view(np.float16).astype(np.float64)
    wanted = PieceErrors("stack", "F16", False, 20, float((w * (x - y) ** 2).sum()), float((w * x**2).sum()))
    assert found[:4] == wanted[:4]
    assert found[4:] == pytest.approx(wanted[4:], rel=1e-12)
