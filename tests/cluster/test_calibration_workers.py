"""Calibration by several workers: the same file whatever the way and their number, also when one is killed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray

from ggufactory.calibrate.unfinished import STATE_FOLDER
from ggufactory.checkpoint import open_checkpoint
from ggufactory.cli import main
from ggufactory.cluster import calibration, stages
from ggufactory.job.calibration_job import calibrate
from ggufactory.job.calibration_spec import CalibrationSpec
from ggufactory.observe.calibration_log import CalibrationLog
from job_process import JobProcess

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.usefixtures("local_ray")]

CONTEXT, CHUNKS = 64, 96
"""Three groups of chunks."""


class _Log(CalibrationLog):
    def __init__(self, kill_at: int | None = None) -> None:
        super().__init__()
        self.how: list[str] = []
        self._kill_at = kill_at

    def planned(self, how: str) -> None:
        self.how.append(how)

    def advanced(self, done: int, total: int) -> None:
        """SIGKILL to a worker once so much is done."""
        if self._kill_at is not None and done >= self._kill_at:
            self._kill_at = None
            for child in psutil.Process().children(recursive=True):
                if child.cmdline() and child.cmdline()[0].startswith("ray::_Stage"):
                    child.kill()
                    break
            else:
                raise AssertionError("no worker is there to be killed")


def _spec(tinylm: str, to: Path, **other: object) -> CalibrationSpec:
    fields = {"texts": (f"{tinylm}/calibration.txt",), "context": CONTEXT, "chunks": CHUNKS} | other
    return CalibrationSpec(source=tinylm, to=str(to), **fields)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def whole(tinylm: str, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    to = tmp_path_factory.mktemp("whole") / "a.gguf"
    calibrate(_spec(tinylm, to), _Log())
    return to.read_bytes()


def _weights(tinylm: str) -> int:
    return sum(tensor.nbytes for tensor in open_checkpoint(tinylm).tensors.values())


@pytest.mark.parametrize(
    ("split", "workers", "readings"),
    [("chunks", 3, 3), ("layers", 3, 1)],
)
def test_the_same_file(split: str, workers: int, readings: int, tinylm: str, tmp_path: Path, whole: bytes) -> None:
    to = tmp_path / "a.gguf"
    log = _Log()
    made = calibrate(_spec(tinylm, to, split=split, workers=workers), log)
    assert to.read_bytes() == whole
    assert made.bytes_read == readings * _weights(tinylm)
    assert split in log.how[0]
    assert not list((tmp_path / STATE_FOLDER).rglob("*"))


def test_a_stage_killed(tinylm: str, tmp_path: Path, whole: bytes) -> None:
    to = tmp_path / "a.gguf"
    calibrate(_spec(tinylm, to, split="layers", workers=2), _Log(kill_at=4))
    assert to.read_bytes() == whole


def test_a_run_killed_and_resumed_by_another_number_of_workers(tinylm: str, tmp_path: Path, whole: bytes) -> None:
    """SIGKILL to `ggufactory calibrate`, whose three shares this process then finishes one after the other."""
    to = tmp_path / "a.gguf"
    arguments = ["calibrate", tinylm, "--text", f"{tinylm}/calibration.txt", "--to", str(to)]
    arguments += ["--context", str(CONTEXT), "--chunks", str(CHUNKS), "--workers", "3", "--split", "chunks"]
    run = JobProcess.start(tmp_path / "log", *arguments)
    state = tmp_path / STATE_FOLDER
    assert run.wait_until(lambda: bool(list(state.rglob("sums-0002")))), run.text()
    run.kill()
    assert not to.exists()
    log = _Log()
    made = calibrate(_spec(tinylm, to), log)
    assert to.read_bytes() == whole
    assert "resumed" in log.how[0]
    assert made.bytes_read < 3 * _weights(tinylm)
    assert not list(state.rglob("*"))


def test_stopped_by_sigterm(tinylm: str, tmp_path: Path, whole: bytes) -> None:
    to = tmp_path / "a.gguf"
    arguments = ["calibrate", tinylm, "--text", f"{tinylm}/calibration.txt", "--to", str(to)]
    arguments += ["--context", str(CONTEXT), "--chunks", str(CHUNKS)]
    run = JobProcess.start(tmp_path / "log", *arguments)
    state = tmp_path / STATE_FOLDER
    assert run.wait_until(lambda: bool(list(state.rglob("sums-0001")))), run.text()
    assert run.stop(signal.SIGTERM) == 143, run.text()
    assert "the same command resumes" in run.text()
    assert "Traceback" not in run.text()
    assert list(state.rglob("sums-*"))
    calibrate(_spec(tinylm, to), _Log())
    assert to.read_bytes() == whole


class _Dies:
    """A stage that knows no model, and ends at its first layer."""

    def __init__(self, work: object) -> None: ...

    def started(self) -> None: ...

    def embed(self, tokens: object) -> object:
        return tokens

    def take(self, *_: object) -> object:
        os._exit(1)


def _fails(*_: object) -> object:
    raise OSError("the disk is full")


@pytest.fixture
def workers_fail(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    module = sys.modules[__name__]
    ray.cloudpickle.register_pickle_by_value(module)
    monkeypatch.setattr(stages, "_Stage", _Dies)
    monkeypatch.setattr(stages, "_RESTARTS", 0)
    monkeypatch.setattr(calibration, "_collect_share", _fails)
    yield
    ray.cloudpickle.unregister_pickle_by_value(module)


@pytest.mark.parametrize("split", ["chunks", "layers"])
def test_a_worker_failed_for_good(
    split: str, tinylm: str, tmp_path: Path, workers_fail: None, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["calibrate", tinylm, "--text", f"{tinylm}/calibration.txt", "--to", str(tmp_path / "a.gguf")]
    assert main([*arguments, "--chunks", "8", "--workers", "2", "--split", split]) == 3
    assert "same command resumes" in capsys.readouterr().err


def test_no_cluster_there(
    tinylm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    arguments = ["calibrate", tinylm, "--text", f"{tinylm}/calibration.txt", "--to", str(tmp_path / "a.gguf")]
    assert main([*arguments, "--ray-address", "127.0.0.1:1"]) == 4
    assert "cannot be reached" in capsys.readouterr().err
