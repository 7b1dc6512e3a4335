"""Killed at many points, the same command finishes, and re-does at most what was in flight."""

from __future__ import annotations

import hashlib
import json
import signal
from pathlib import Path

import pytest

from ggufactory.cli import main
from ggufactory.plan.ladder import LADDERS
from ggufactory.publish.manifest import require
from ggufactory.publish.release import names_beside
from ggufactory.storage import open_store
from job_process import JobProcess, stored_parts
from weed import Weed

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "whole_files.json").read_text())["files"]["imatrix"]
LADDER = ("Q8_0", *LADDERS["imatrix-small"])
"""Long enough at work on any machine to be killed in the middle."""
WORKERS = 2

pytestmark = pytest.mark.cluster


def _arguments(tinylm: str, imatrix: str, target: str) -> list[str]:
    ladder = ["--ladder", ",".join(LADDER), "--imatrix", imatrix, "--name", "tinylm"]
    return ["quantize", tinylm, "--to", target, *ladder, "--span-size", "40K", "--workers", str(WORKERS)]


def _assert_finished(target: str) -> None:
    """Whole and right, and nothing else is left."""
    store = open_store(target)
    for rung in LADDER:
        info = store.stat(f"tinylm-{rung}.gguf")
        assert info is not None
        data = bytearray(info.size)
        store.read_into(info.name, 0, memoryview(data))
        assert hashlib.sha256(data).hexdigest() == GOLDEN[rung]["sha256"]
    names = {info.name for info in store.list()}
    assert names == {*names_beside(require(store)), *(f"tinylm-{rung}.gguf" for rung in LADDER)}
    assert stored_parts(target) == {}


def _complete_spans(target: str, rungs: int = len(LADDER)) -> int:
    """Spans of which every rung's part is stored."""
    parts = stored_parts(target)
    return len(set.intersection(*parts.values())) if len(parts) == rungs else 0


def _spans(log: str) -> tuple[int, int]:
    """(spans, left to make) as the job's first line tells."""
    line = next(line for line in log.splitlines() if " planned " in line)
    fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
    return int(fields["spans"]), int(fields["left"])


def test_driver_killed_at_many_points(tmp_path: Path, tinylm: str, tinylm_imatrix: str) -> None:
    target = str(tmp_path / "out")
    arguments = _arguments(tinylm, tinylm_imatrix, target)
    done = kills = 0
    for number, spans_wanted in enumerate((0, 40, 90, 140)):
        run = JobProcess.start(tmp_path / f"{number}.log", *arguments)
        if not run.wait_until(lambda run=run, wanted=spans_wanted: _is_at(run, target, wanted)):  # type: ignore[misc]
            break
        run.kill()
        kills += 1
        assert not list((tmp_path / "out").glob("*.gguf")), "a file is visible before it is whole"
        spans, left = _spans(run.text())
        assert left <= spans - done
        done = _complete_spans(target)
    assert kills >= 2
    last = JobProcess.start(tmp_path / "last.log", *arguments)
    assert last.wait() == 0, last.text()
    _assert_finished(target)


def _is_at(run: JobProcess, target: str, spans: int) -> bool:
    """It has planned, and so many spans are complete."""
    return " planned " in run.text() and _complete_spans(target) >= spans


def test_driver_killed_while_finishing(tmp_path: Path, tinylm: str, tinylm_imatrix: str) -> None:
    """Between the first visible file and the manifest."""
    target = str(tmp_path / "out")
    arguments = _arguments(tinylm, tinylm_imatrix, target)
    run = JobProcess.start(tmp_path / "first.log", *arguments)
    assert run.wait_until(lambda: bool(list((tmp_path / "out").glob("*.gguf"))))
    run.kill()
    again = JobProcess.start(tmp_path / "again.log", *arguments)
    assert again.wait() == 0, again.text()
    _assert_finished(target)


def test_workers_killed(tmp_path: Path, tinylm: str, tinylm_imatrix: str) -> None:
    target = str(tmp_path / "out")
    run = JobProcess.start(tmp_path / "log", *_arguments(tinylm, tinylm_imatrix, target))
    killed = 0
    for spans_wanted in (5, 60, 120):
        if run.wait_until(lambda wanted=spans_wanted: _complete_spans(target) >= wanted and bool(run.workers())):  # type: ignore[misc]
            for worker in run.workers()[:1]:
                worker.kill()
                killed += 1
    assert run.wait() == 0, run.text()
    assert killed
    _assert_finished(target)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_by_a_signal(
    tmp_path: Path, tinylm: str, tinylm_imatrix: str, number: signal.Signals, code: int
) -> None:
    target = str(tmp_path / "out")
    arguments = _arguments(tinylm, tinylm_imatrix, target)
    run = JobProcess.start(tmp_path / "log", *arguments)
    assert run.wait_until(lambda: _complete_spans(target) >= 10)
    assert run.stop(number) == code, run.text()
    assert "the same command resumes" in run.text()
    assert "Traceback" not in run.text()
    assert not list((tmp_path / "out").glob("*.gguf"))
    assert _complete_spans(target) >= 10


@pytest.mark.s3
def test_driver_killed_on_s3(s3: Weed, s3_prefix: str, tmp_path: Path, big_enough_for_s3: str) -> None:
    """The multipart uploads are found again, their parts are used, and no object is seen before it is whole."""
    arguments = ["quantize", big_enough_for_s3, "--to", s3_prefix, "--ladder", "Q8_0,Q4_K_M", "--workers", "1"]
    for number, parts_wanted in enumerate((2, 8)):
        run = JobProcess.start(tmp_path / f"{number}.log", *arguments)
        reached = run.wait_until(lambda wanted=parts_wanted: _parts_on(s3_prefix) >= wanted)  # type: ignore[misc]
        assert reached, run.text()
        run.kill()
        names = {info.name for info in open_store(s3_prefix).list()}
        assert not any(name.endswith(".gguf") for name in names)
    stored = stored_parts(s3_prefix)
    done = len(set.intersection(*stored.values()))
    last = JobProcess.start(tmp_path / "last.log", *arguments)
    assert last.wait() == 0, last.text()
    spans, left = _spans(last.text())
    assert 0 < left <= spans - done
    assert main(["verify", s3_prefix]) == 0
    assert stored_parts(s3_prefix) == {}


@pytest.mark.s3
def test_s3_server_killed(s3: Weed, s3_prefix: str, tmp_path: Path, big_enough_for_s3: str) -> None:
    """In the middle of the uploads, for a moment: the workers' own retries carry the job through."""
    arguments = ["quantize", big_enough_for_s3, "--to", s3_prefix, "--ladder", "Q8_0,Q4_K_M", "--workers", "2"]
    run = JobProcess.start(tmp_path / "log", *arguments)
    for parts_wanted in (2, 6):
        assert run.wait_until(lambda wanted=parts_wanted: _parts_on(s3_prefix) >= wanted)  # type: ignore[misc]
        s3.restart()
    assert run.wait() == 0, run.text()
    assert main(["verify", s3_prefix]) == 0
    store = open_store(s3_prefix)
    assert {info.name for info in store.list()} == {
        *names_beside(require(store)),
        *(f"{Path(big_enough_for_s3).name}-{rung}.gguf" for rung in ("Q8_0", "Q4_K_M")),
    }


@pytest.mark.s3
def test_s3_server_gone_for_longer(
    s3: Weed, s3_prefix: str, tmp_path: Path, big_enough_for_s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than retries last: the job says that the store is down, and resumes when it is back."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    arguments = ["quantize", big_enough_for_s3, "--to", s3_prefix, "--ladder", "Q8_0,Q4_K_M", "--workers", "1"]
    run = JobProcess.start(tmp_path / "log", *arguments)
    assert run.wait_until(lambda: _complete_spans(s3_prefix, rungs=2) >= 2)
    parts, done = _parts_on(s3_prefix), _complete_spans(s3_prefix, rungs=2)
    s3.kill()
    try:
        code = run.wait()
    finally:
        s3.start()
    assert code in (3, 4), run.text()
    assert s3.endpoint in run.text()
    assert "Traceback" not in run.text()
    assert _parts_on(s3_prefix) >= parts
    again = JobProcess.start(tmp_path / "again.log", *arguments)
    assert again.wait() == 0, again.text()
    spans, left = _spans(again.text())
    assert 0 < left <= spans - done
    assert main(["verify", s3_prefix]) == 0


def _parts_on(target: str) -> int:
    return sum(len(parts) for parts in stored_parts(target).values())
