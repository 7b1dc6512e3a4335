"""`ggufactory submit` as far as it goes without a cluster: what travels, what is refused, how jobs end."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from ggufactory import interrupts
from ggufactory.cli import main
from ggufactory.cluster import job_server
from ggufactory.cluster.job_server import SubmittedJob
from ggufactory.errors import InputError, UnavailableError
from ggufactory.job import ladder_job
from ggufactory.job.job_spec import JobSpec
from ggufactory.job.packed_job import pack_job
from ggufactory.job.submission import latest_attempt, submission_name
from scripted_server import Answer, ScriptedServer


def _job_file(tmp_path: Path, **fields: object) -> str:
    path = tmp_path / "given.yaml"
    path.write_text(yaml.safe_dump(fields))
    return str(path)


def _packed(tmp_path: Path, *, shared_paths: bool = False, **fields: object) -> tuple[dict[str, Any], Path]:
    folder = tmp_path / "packed"
    folder.mkdir()
    pack_job(_job_file(tmp_path, **fields), folder, shared_paths=shared_paths)
    return yaml.safe_load((folder / "job.yaml").read_text()), folder


# --- what travels ---


def test_small_files_travel_under_their_names(tmp_path: Path) -> None:
    given = [tmp_path / "a" / "imatrix.gguf", tmp_path / "b" / "imatrix.gguf"]
    for number, path in enumerate(given):
        path.parent.mkdir()
        path.write_bytes(bytes([number]))
    matrices = [str(given[0]), "s3://models/third.gguf", given[1].as_uri()]
    packed, folder = _packed(tmp_path, source="hf://org/name", to="s3://gguf/x", ladder=["Q8_0"], imatrix=matrices)
    assert packed["imatrix"] == ["file0/imatrix.gguf", "s3://models/third.gguf", "file1/imatrix.gguf"]
    assert [(folder / "file0/imatrix.gguf").read_bytes(), (folder / "file1/imatrix.gguf").read_bytes()] == [
        b"\0",
        b"\1",
    ]
    assert (packed["source"], packed["to"], packed["ladder"]) == ("hf://org/name", "s3://gguf/x", ["Q8_0"])
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names == {"job.yaml", "file0/imatrix.gguf", "file1/imatrix.gguf"}


def test_where_a_job_runs_stays_behind(tmp_path: Path) -> None:
    packed, _ = _packed(
        tmp_path, source="s3://m/x", to="s3://g/x", ladder="Q8_0", ray_address="auto", workers=3, device="cpu"
    )
    assert packed == {"source": "s3://m/x", "to": "s3://g/x", "ladder": "Q8_0", "device": "cpu"}


def test_shared_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    packed, folder = _packed(
        tmp_path, shared_paths=True, source="model", to="s3://g/x", ladder="Q8_0", imatrix=["i.gguf"]
    )
    assert packed["source"] == str(tmp_path / "model")
    assert packed["to"] == "s3://g/x"
    assert packed["imatrix"] == [str(tmp_path / "i.gguf")]
    assert [path.name for path in folder.iterdir()] == ["job.yaml"]


def test_places_on_this_machine_are_refused_together(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        _packed(tmp_path, source="./model", to="file:///tmp/out", ladder="Q8_0")
    for told in ("source: ./model is on this machine", "to: file:///tmp/out is on this machine", "--shared-paths"):
        assert told in str(refused.value)


def test_files_that_are_not_there_or_too_large(tmp_path: Path) -> None:
    fields = {"source": "s3://m/x", "to": "s3://g/x", "ladder": "Q8_0"}
    with pytest.raises(InputError, match=r"nowhere\.gguf cannot be read: No such file"):
        _packed(tmp_path, **fields, imatrix="nowhere.gguf")
    large = tmp_path / "large.gguf"
    with large.open("wb") as file:
        file.truncate((100 << 20) + 1)
    (tmp_path / "packed").rename(tmp_path / "before")
    with pytest.raises(InputError, match="more than 100 MiB"):
        _packed(tmp_path, **fields, imatrix=str(large))


# --- addresses ---


@pytest.mark.parametrize(
    ("address", "code", "told"),
    [
        ("head:8265", 2, "wanted http://HOST:PORT"),
        ("ray://head:10001", 2, "wanted http://HOST:PORT"),
        ("http://", 2, "wanted http://HOST:PORT"),
        ("http://[::1", 2, "wanted http://HOST:PORT"),
        ("http://head:99999999", 2, "wanted http://HOST:PORT"),
        ("http://somebody:hunter2@head:8265", 2, "holds a user name or a password"),
        ("http://127.0.0.1:1", 4, "cannot be reached"),
    ],
)
def test_an_address_that_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tinylm: str, address: str, code: int, told: str
) -> None:
    given = _job_file(tmp_path, source=tinylm, to=str(tmp_path / "out"), ladder="Q8_0")
    assert main(["submit", given, "--address", address, "--shared-paths"]) == code
    said = capsys.readouterr().err
    assert told in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    "answer",
    [Answer(404), Answer(200, b"<html>"), Answer(200, b"[]"), Answer(500, b"oops"), Answer(drop=True)],
)
def test_a_server_that_is_no_ray(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tinylm: str, answer: Answer
) -> None:
    given = _job_file(tmp_path, source=tinylm, to=str(tmp_path / "out"), ladder="Q8_0")
    with ScriptedServer(lambda request: answer) as server:
        assert main(["submit", given, "--address", server.endpoint, "--shared-paths"]) == 4
    said = capsys.readouterr().err
    assert "Check --address" in said
    assert "Traceback" not in said


def test_the_given_address_is_the_one_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray itself would prefer the variables."""
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:2")

    def answer(request: Any) -> Answer:
        if request.path == "/api/version":
            return Answer(200, json.dumps({"ray_version": "2.60.0"}).encode())
        return Answer(200, b"[]")

    with ScriptedServer(answer) as server:
        assert job_server.JobServer(server.endpoint + "/").jobs() == {}
        assert [request.path for request in server.requests][-1] == "/api/jobs/"


# --- attempts and ends ---


def _known(job_id: str, status: str = "FAILED", exit_code: int | None = 1, message: str = "") -> SubmittedJob:
    return SubmittedJob(job_id, status, exit_code, message)


def test_attempts_are_numbered() -> None:
    assert latest_attempt("a", {}) == (1, None)
    jobs = {name: _known(name) for name in ("a", "a-2", "a-4", "b")}
    assert latest_attempt("a", jobs) == (3, jobs["a-2"])


def test_a_name_is_of_plan_and_target(tinylm: str) -> None:
    plan = ladder_job.make_plan(JobSpec(source=tinylm, ladder=("Q8_0",)))
    other = ladder_job.make_plan(JobSpec(source=tinylm, ladder=("Q6_K",)))
    names = {submission_name(p, target) for p in (plan, other) for target in ("s3://g/a", "s3://g/b")}
    assert len(names) == 4
    assert submission_name(plan, "s3://g/a", "evaluated") not in names, "more is to be done"
    assert submission_name(plan, "s3://g/a").startswith(f"ggufactory-{plan.fingerprint[:32]}-")


class _Server:
    """Plays the job server: jobs that are known, and how the one that is submitted ends."""

    address = "http://head:8265"

    def __init__(self, end: SubmittedJob, jobs: Mapping[str, SubmittedJob] | None = None) -> None:
        self.known = dict(jobs or {})
        self.submitted: list[str] = []
        self._end = end

    def jobs(self) -> dict[str, SubmittedJob]:
        return self.known

    def submit(self, job_id: str, entrypoint: str, folder: Path, metadata: Mapping[str, str]) -> bool:
        assert (folder / "job.yaml").exists()
        self.submitted.append(job_id)
        return True

    def follow(self, job_id: str, write: Callable[[str], object]) -> SubmittedJob:
        write("its log\n")
        return replace(self._end, id=job_id)


@pytest.fixture
def submit(tmp_path: Path, tinylm: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Submit a job to a `_Server` and return the exit code."""

    def run(server: _Server, *flags: str) -> int:
        given = _job_file(tmp_path, source=tinylm, to=str(tmp_path / "out"), ladder="Q8_0")
        monkeypatch.setattr(job_server, "JobServer", lambda address: server)
        return main(["submit", given, "--address", "http://head:8265", "--shared-paths", *flags])

    return run


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (_known("", "SUCCEEDED", 0), 0),
        (_known("", "FAILED", 3), 3),
        (_known("", "FAILED", -9), 137),
        (_known("", "STOPPED", None), 143),
        (_known("", "FAILED", None, "the head is gone"), 4),
    ],
)
def test_the_exit_code_is_the_jobs(
    submit: Callable[..., int], capsys: pytest.CaptureFixture[str], end: SubmittedJob, code: int
) -> None:
    server = _Server(end)
    assert submit(server) == code
    log, said = capsys.readouterr()
    assert log == "its log\n"
    assert f"submitted {server.submitted[0]}" in said
    assert end.message in said


def test_jobs_that_are_known(submit: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    done = _known("", "SUCCEEDED", 0)
    first = _Server(done)
    assert submit(first, "--no-wait") == 0
    (name,) = first.submitted
    assert capsys.readouterr().out == ""

    for status in ("PENDING", "RUNNING"):
        server = _Server(done, {name: _known(name, status, None)})
        assert submit(server) == 0
        assert server.submitted == []
        assert f"{name} is {status.lower()} already" in capsys.readouterr().err

    failed = _Server(done, {name: _known(name), f"{name}-2": _known(f"{name}-2", "STOPPED", None)})
    assert submit(failed) == 0
    assert failed.submitted == [f"{name}-3"]

    # Done once, but the target, which is the truth, has lost it since.
    lost = _Server(done, {name: _known(name, "SUCCEEDED", 0)})
    assert submit(lost) == 0
    assert lost.submitted == [f"{name}-2"]


def test_an_id_that_another_submitter_took(submit: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    class Overtaken(_Server):
        def submit(self, job_id: str, entrypoint: str, folder: Path, metadata: Mapping[str, str]) -> bool:
            self.known[job_id] = _known(job_id, "RUNNING", None)
            return False

    assert submit(Overtaken(_known("", "SUCCEEDED", 0))) == 0
    assert "is running already" in capsys.readouterr().err


def test_a_signal_detaches(submit: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    class Stopped(_Server):
        def follow(self, job_id: str, write: Callable[[str], object]) -> SubmittedJob:
            raise interrupts.StoppedError(2)

    assert submit(Stopped(_known(""))) == 130
    assert "detached by SIGINT; a job that was submitted goes on" in capsys.readouterr().err


# --- following ---


class _Client:
    """Plays Ray's client: every connection brings the log from its beginning, and some break."""

    def __init__(self, connections: list[list[str]], statuses: list[str]) -> None:
        self._connections = connections
        self._statuses = statuses

    async def tail_job_logs(self, job_id: str) -> Any:
        for text in self._connections.pop(0):
            if text == "break":
                raise RuntimeError("WebSocket closed")
            yield text

    def get_job_info(self, job_id: str) -> Any:
        status = self._statuses.pop(0)
        if status == "unreachable":
            raise ConnectionError("no route to host")
        known = type("Details", (), {"submission_id": job_id, "driver_exit_code": 3, "message": None})()
        known.status = type("Status", (), {"value": status})()
        return known

    def get_job_logs(self, job_id: str) -> str:
        return "one\ntwo\nthree\n"


def _followed(client: _Client, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], SubmittedJob]:
    server = object.__new__(job_server.JobServer)
    server.address = "http://head:8265"
    server._client = client
    monkeypatch.setattr(job_server, "_POLL_SECONDS", 0)
    written: list[str] = []
    return written, server.follow("job", written.append)


def test_a_log_is_written_once_however_often_the_connection_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    connections = [["one\n", "tw", "break"], ["break"], ["one\ntwo\n"]]
    written, ended = _followed(_Client(connections, ["RUNNING", "unreachable", "FAILED"]), monkeypatch)
    assert "".join(written) == "one\ntwo\nthree\n"
    assert (ended.status, ended.exit_code) == ("FAILED", 3)


def test_a_head_that_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_server, "_LOST_PATIENCE_SECONDS", -1)
    with pytest.raises(UnavailableError, match=r"no route to host.*the same command follows it again"):
        _followed(_Client([["one\n"]], ["unreachable"]), monkeypatch)
