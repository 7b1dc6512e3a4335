"""How far a job is, told from the store alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ggufactory.assemble import uploads
from ggufactory.assemble.lease import leased
from ggufactory.cli import main
from ggufactory.job import ladder_job
from ggufactory.job.job_spec import JobSpec
from ggufactory.job.target_status import pace, read_status
from ggufactory.plan.plan import Plan
from ggufactory.plan.progress import Progress
from ggufactory.storage import open_store
from ggufactory.storage.protocol import Store


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def target(request: pytest.FixtureRequest) -> Store:
    if request.param == "folder":
        return open_store(str(request.getfixturevalue("tmp_path") / "out"))
    return open_store(str(request.getfixturevalue("s3_prefix")))


@pytest.fixture
def plan(target: Store, tinylm: str) -> Plan:
    spec = JobSpec(source=tinylm, ladder=("Q8_0", "Q4_K_M"), to=target.uri, span_bytes=1 << 20)
    return ladder_job.make_plan(spec, target)


def _store_part(store: Store, plan: Plan, progress: Progress, name: str, number: int) -> None:
    start, stop = plan.files[name].part_offsets[number - 1 : number + 1]
    part = store.upload_part(progress.uploads[name], number, start, memoryview(bytes(stop - start)))
    progress.parts[name][number] = part


def test_of_a_job_in_the_middle(target: Store, plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    progress = uploads.begin(target, plan)
    first, second = plan.files.values()
    for number in range(1, first.parts + 1):
        _store_part(target, plan, progress, first.name, number)
    uploads.complete(target, first, progress)
    _store_part(target, plan, progress, second.name, 1)
    uploads.park(target, plan, {"span 3": "tensor x is damaged"})
    with leased(target, "sync of tinylm"):
        assert main(["status", target.uri, "--json"]) == 0
        status = json.loads(capsys.readouterr().out)
        assert main(["status", target.uri]) == 0
        shown = capsys.readouterr().out
    assert status["leased"] is True
    assert status["lease"]["owner"]["job"] == "sync of tinylm"
    (unfinished,) = status["jobs"]
    assert (unfinished["name"], unfinished["source"]) == (plan.name, plan.source)
    assert unfinished["fingerprint"] == plan.fingerprint
    one = second.part_offsets[1]
    assert (unfinished["parts"], unfinished["parts_done"]) == (first.parts + second.parts, first.parts + 1)
    assert (unfinished["bytes"], unfinished["bytes_done"]) == (first.size + second.size, first.size + one)
    assert [file["finished"] for file in unfinished["files"]] == [True, False]
    assert unfinished["parked"] == {"span 3": "tensor x is damaged"}
    assert status["artifacts"] == []
    assert "leased by process" in shown
    assert f"{first.parts + 1} of {first.parts + second.parts} parts" in shown
    assert "parked: span 3: tensor x is damaged" in shown


def test_where_nothing_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(tmp_path / "nothing")]) == 0
    assert "0 artifacts, 0 unfinished jobs" in capsys.readouterr().out
    assert not (tmp_path / "nothing").exists()


def test_a_job_file_names_the_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(f"source: /not/there\ntarget: {tmp_path / 'out'}\nladder: [Q8_0]\n")
    assert main(["status", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["target"] == str(tmp_path / "out")
    path.write_text("ladder: [Q8_0]\n")
    assert main(["status", str(path)]) == 2


def test_of_a_state_that_an_older_release_wrote(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    upload = store.create_upload("m-Q8_0.gguf", 8, {})
    store.upload_part(upload, 1, 0, memoryview(b"four"))
    state = {"fingerprint": "f" * 64, "uploads": {"m-Q8_0.gguf": upload.id}}
    store.put(f".ggufactory-jobs/{'f' * 32}.json", json.dumps(state).encode())
    (unfinished,) = read_status(store, 0.0).jobs
    assert (unfinished.parts_done, unfinished.bytes_done, unfinished.bytes) == (1, 4, 0)
    assert unfinished.eta_seconds is None


def test_the_pace_is_that_of_what_was_stored_lately() -> None:
    assert pace([], 0) is None
    assert pace([(100.0, 5)], 101) is None
    assert pace([(100.0, 5), (100.0, 7)], 101) is None, "one moment is no stretch of time"
    assert pace([(100.0, 50), (105.0, 10), (110.0, 30)], 111) == 4.0
    yesterday = [(0.0, 1 << 40), (1.0, 1 << 40)]
    assert pace([*yesterday, (90_000.0, 50), (90_010.0, 40)], 90_011) == 4.0
    assert pace([(100.0, 50), (110.0, 40)], 110 + 3600) is None, "a job that stands still has no pace"


def test_the_time_left_follows_from_the_pace(target: Store, plan: Plan) -> None:
    progress = uploads.begin(target, plan)
    for name in plan.files:
        _store_part(target, plan, progress, name, 1)
    (unfinished,) = read_status(target, 0.0).jobs
    assert unfinished.last_part is not None
    if unfinished.bytes_per_second is None:  # both within one second, as S3 tells time
        assert unfinished.eta_seconds is None
    else:
        left = unfinished.bytes - unfinished.bytes_done
        assert unfinished.eta_seconds == left / unfinished.bytes_per_second
