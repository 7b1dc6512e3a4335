"""Spans of one task: what overlaps, what one that fails leaves alone, and how many a task is given."""

from __future__ import annotations

import shutil
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from corruptions import read_header
from ggufactory.architectures import describe
from ggufactory.assemble import uploads
from ggufactory.checkpoint import open_checkpoint
from ggufactory.cluster import span_pipeline
from ggufactory.cluster.batches import batches, task_slots
from ggufactory.cluster.descriptor import SpanReceipt, SpanWork
from ggufactory.cluster.span_pipeline import make_spans
from ggufactory.cluster.span_task import SpanTask, Workplace
from ggufactory.cluster.work import missing_spans
from ggufactory.errors import DamagedSourceError, TransientStoreError
from ggufactory.plan import plan as planning
from ggufactory.plan.memory import SPANS_PER_TASK, UPLOADS_IN_FLIGHT
from ggufactory.plan.plan import Plan
from ggufactory.storage import open_store
from ggufactory.storage.protocol import Part, Store, Upload

PATIENCE = 20.0
"""Of something that never comes where nothing overlaps."""


class Job:
    """A plan of some spans for a folder."""

    def __init__(self, source: str, target: Path, ladder: tuple[str, ...] = ("Q8_0",)) -> None:
        self.source, self.target = source, str(target)
        checkpoint = open_checkpoint(source)
        self.plan: Plan = planning.make(
            describe(checkpoint),
            ladder,
            name="m",
            source=source,
            files=checkpoint.files,
            limits=open_store(self.target).limits,
            quantizable=frozenset({"Q8_0", "Q4_K", "Q6_K", "F16", "F32"}),
            span_bytes=700_000,
        )
        self.progress = uploads.begin(open_store(self.target), self.plan)
        self.works = list(missing_spans(self.plan, self.progress, self.target))
        assert len(self.works) >= 4

    def make(self, works: list[SpanWork], stopped: Callable[[], bool] = lambda: False) -> list[SpanReceipt]:
        headers = {file.name: self.plan.header(rung, file) for rung in self.plan.rungs for file in rung.files}
        receipts = make_spans(works, headers, {}, stopped=stopped)
        for receipt in receipts:
            for name, part in receipt.parts:
                self.progress.parts[name][part.number] = part
        return receipts

    def files(self) -> dict[str, bytes]:
        store = open_store(self.target)
        for file in self.plan.files.values():
            uploads.complete(store, file, self.progress)
        return {name: (Path(self.target) / name).read_bytes() for name in self.plan.files}


class Watched:
    """A store that tells of reads and uploads before they happen."""

    def __init__(self, store: Store, told: Callable[[str, int], None]) -> None:
        self._store = store
        self._told = told

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def read_into(self, name: str, offset: int, buffer: memoryview, *, etag: str | None = None) -> None:
        self._told("read", offset)
        self._store.read_into(name, offset, buffer, etag=etag)

    def upload_part(self, upload: Upload, number: int, offset: int, data: memoryview) -> Part:
        self._told("upload", number - 1)
        return self._store.upload_part(upload, number, offset, data)


def _watch(monkeypatch: pytest.MonkeyPatch, told: Callable[[str, int], None]) -> None:
    monkeypatch.setattr(span_pipeline, "open_store", lambda uri: Watched(open_store(uri), told))


def test_the_same_files_and_no_second_counted_twice(tinylm: str, tmp_path: Path) -> None:
    ladder = ("Q8_0", "Q4_K_M", "F16")
    single, several = (Job(tinylm, tmp_path / name, ladder) for name in ("single", "several"))
    for work in single.works:
        single.make([work])
    receipts = several.make(several.works)
    assert sorted(r.index for r in receipts) == [w.index for w in several.works]
    assert several.files() == single.files()
    sizes = {w.index: sum(p.size for p in w.parts) for w in several.works}
    assert {r.index: r.bytes_written for r in receipts} == sizes
    assert all(r.seconds > 0 and r.cpu_seconds >= 0 for r in receipts)


def test_the_next_span_is_read_and_the_last_one_uploaded_meanwhile(
    tinylm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upload of each span ends only after that of the next one has begun, for which it had to be read and made."""
    job = Job(tinylm, tmp_path / "out")
    lock, sent = threading.Condition(), set[int]()

    def told(what: str, number: int) -> None:
        if what != "upload":
            return
        with lock:
            sent.add(number)
            lock.notify_all()
            if (following := number + 1) < len(job.works):
                assert lock.wait_for(lambda: following in sent, PATIENCE), f"{following} waits for {number}"

    _watch(monkeypatch, told)
    assert len(job.make(job.works)) == len(job.works)


def test_one_span_is_read_ahead_and_no_more(tinylm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first upload holds everything up: what is read then is what a worker holds, and the plan counts."""
    job = Job(tinylm, tmp_path / "out")
    begun: set[int] = set()
    opened: list[int] = []
    held, go = threading.Event(), threading.Event()

    def told(what: str, number: int) -> None:
        if what == "upload":
            begun.add(number)
            if len(begun) == UPLOADS_IN_FLIGHT:
                held.set()
            assert go.wait(PATIENCE)

    class Counted(SpanTask):
        def __init__(self, work: SpanWork, at: Workplace) -> None:
            opened.append(work.index)
            super().__init__(work, at)

    monkeypatch.setattr(span_pipeline, "SpanTask", Counted)
    _watch(monkeypatch, told)
    works = job.works * 2  # enough of them: repeating one is allowed
    thread = threading.Thread(target=make_spans, args=(works, _headers(job.plan), {}))
    thread.start()
    try:
        assert held.wait(PATIENCE)
        # Two on their way, one made that waits for room, and one that is read.
        assert len(opened) <= UPLOADS_IN_FLIGHT + 2
    finally:
        go.set()
        thread.join()
    assert opened == [work.index for work in works]


def _headers(plan: Plan) -> Mapping[str, bytes]:
    return {file.name: plan.header(rung, file) for rung in plan.rungs for file in rung.files}


@pytest.mark.parametrize("what", ["read", "upload"])
def test_one_that_fails_leaves_the_others_alone(
    tinylm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    job = Job(tinylm, tmp_path / "out")
    reads = Counter[str]()

    def told(doing: str, number: int) -> None:
        reads[doing] += 1
        if doing == what and (number == 1 if what == "upload" else reads[doing] == 1):
            raise TransientStoreError("the store is busy")

    _watch(monkeypatch, told)
    failed = 1 if what == "upload" else 0
    made = {receipt.index for receipt in job.make(job.works)}
    assert made == {work.index for work in job.works} - {job.works[failed].index}


def test_one_by_itself_says_why(tinylm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(what: str, number: int) -> None:
        if what == "upload":
            raise TransientStoreError("the store is busy")

    _watch(monkeypatch, told)
    job = Job(tinylm, tmp_path / "out")
    with pytest.raises(TransientStoreError, match="busy"):
        job.make(job.works[:1])


def test_none_made_says_why_and_holds_no_rows(tinylm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(what: str, number: int) -> None:
        if what == "upload":
            raise TransientStoreError("the store is down")

    _watch(monkeypatch, told)
    job = Job(tinylm, tmp_path / "out")
    made: list[weakref.ref[SpanTask]] = []

    class Known(SpanTask):
        def __init__(self, work: SpanWork, at: Workplace) -> None:
            super().__init__(work, at)
            made.append(weakref.ref(self))

    monkeypatch.setattr(span_pipeline, "SpanTask", Known)
    with pytest.raises(TransientStoreError, match="down") as failed:
        job.make(job.works[:3])
    assert len(made) == 3
    assert failed.value.__traceback__ is not None
    assert [span for span in made if span() is not None] == []


def test_damaged_weights_leave_the_others_alone(tinylm: str, tmp_path: Path) -> None:
    source = Path(shutil.copytree(tinylm, tmp_path / "model"))
    for path in source.glob("*.safetensors"):
        header = read_header(path)
        if "model.layers.1.mlp.up_proj.weight" in header:
            data = bytearray(path.read_bytes())
            at = 8 + int.from_bytes(data[:8], "little")
            at += header["model.layers.1.mlp.up_proj.weight"]["data_offsets"][0] + 14
            data[at : at + 2] = b"\xc0\x7f"
            path.write_bytes(data)
    job = Job(str(source), tmp_path / "out")
    made = {receipt.index for receipt in job.make(job.works)}
    (left,) = [work for work in job.works if work.index not in made]
    with pytest.raises(DamagedSourceError, match=r"tensor blk\.1\.ffn_up\.weight"):
        job.make([left])


def test_what_nobody_expects_ends_the_task(tinylm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(what: str, number: int) -> None:
        if what == "upload" and number == 1:
            raise KeyError("a fault of ours")

    _watch(monkeypatch, told)
    job = Job(tinylm, tmp_path / "out")
    with pytest.raises(KeyError, match="ours"):
        job.make(job.works)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("read_", "upload_"))]


def test_no_further_span_begins_when_the_run_is_stopped(tinylm: str, tmp_path: Path) -> None:
    job = Job(tinylm, tmp_path / "out")
    answers = iter([False, True])
    made = job.make(job.works, stopped=lambda: next(answers))
    assert [receipt.index for receipt in made] == [work.index for work in job.works[:2]]


@pytest.mark.parametrize(("count", "slots"), [(0, 3), (1, 1), (7, 1), (100, 2), (1000, 16), (1000, 5000), (9, 0)])
def test_batches_become_single_spans(count: int, slots: int) -> None:
    made = list(batches(range(count), count, slots))
    assert [span for batch in made for span in batch] == list(range(count))
    sizes = [len(batch) for batch in made]
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes, default=1) <= SPANS_PER_TASK
    assert len(made) >= min(count, 4 * slots)
    if count > 4 * SPANS_PER_TASK * max(slots, 1):
        assert sizes[0] == SPANS_PER_TASK
    assert sizes[-max(slots, 1) :] == [1] * len(sizes[-max(slots, 1) :])


def test_slots_are_what_nodes_run_at_once() -> None:
    nodes = [{"CPU": 8.0, "memory": 10e9, "GPU": 1.0}, {"CPU": 2.0, "memory": 100e9}, {}]
    assert task_slots(nodes, 10**9, 0.0, fixed=True) == 10
    assert task_slots(nodes, 3 * 10**9, 0.0, fixed=True) == 3 + 2
    assert task_slots(nodes, 10**9, 0.25, fixed=True) == 4
    assert task_slots(nodes, 10**9, 0.0, fixed=False) == 125
    assert task_slots(nodes * 30, 10**9, 0.0, fixed=False) == 300
