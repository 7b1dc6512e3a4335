"""What gc finds and removes, and what it leaves alone."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from ggufactory.assemble import uploads
from ggufactory.assemble.error_sums import ErrorSums, sums_name
from ggufactory.assemble.lease import acquire
from ggufactory.cli import main
from ggufactory.job import ladder_job
from ggufactory.job.job_spec import JobSpec
from ggufactory.job.leftovers import find_leftovers
from ggufactory.plan.plan import Plan
from ggufactory.storage import open_store
from ggufactory.storage.protocol import Store

DAY = 86400.0


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def target(request: pytest.FixtureRequest) -> Store:
    if request.param == "folder":
        return open_store(str(request.getfixturevalue("tmp_path") / "out"))
    return open_store(str(request.getfixturevalue("s3_prefix")))


@pytest.fixture
def plan(target: Store, tinylm: str) -> Plan:
    return ladder_job.make_plan(JobSpec(source=tinylm, ladder=("Q8_0", "Q4_K_M"), to=target.uri), target)


def _gc(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["gc", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_an_abandoned_job_is_listed_and_then_deleted(
    target: Store, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    uploads.begin(target, plan)
    young = _gc(capsys, target.uri)
    assert young["stale"] == []
    assert {item["kind"] for item in young["recent"]} == {"upload", "state"}
    listed = _gc(capsys, target.uri, "--older-than", "0s")
    assert sorted(item["kind"] for item in listed["stale"]) == ["state", "upload", "upload"]
    assert len(target.list_uploads()) == 2, "a dry run deletes nothing"
    assert main(["gc", target.uri, "--older-than", "0s"]) == 0
    assert "3 leftovers, 0 B, to delete, with --delete" in capsys.readouterr().out
    assert _gc(capsys, target.uri, "--older-than", "0s", "--delete")["deleted"] is True
    assert list(target.list_uploads()) == []
    assert target.list() == []


def test_errors_are_as_old_as_their_plan(target: Store, plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of a plan that nobody knows, by when they were written."""
    progress = uploads.begin(target, plan)
    sums = ErrorSums(target, plan, plan.files)
    with sums.kept():
        sums.add(0, [])
    name = sums_name(plan.fingerprint)
    target.put(sums_name("f" * 32), b"no JSON")
    target.put(".ggufactory-jobs/of-somebody-else-errors.json", b"{}")
    found = find_leftovers(target, time.time() + 6 * DAY, 7 * DAY)
    assert [(item.kind, item.name) for item in found.stale] == [("errors", sums_name("f" * 32))]
    assert name in {item.name for item in found.recent}
    assert name in {item.name for item in find_leftovers(target, time.time() + 8 * DAY, 7 * DAY).stale}
    uploads.abandon(target, plan, progress)
    assert _gc(capsys, target.uri, "--older-than", "0s", "--delete")["stale"][0]["bytes"] == 7
    assert [info.name for info in target.list(".ggufactory-jobs/")] == [".ggufactory-jobs/of-somebody-else-errors.json"]


def test_age_is_that_of_the_newest_part(target: Store, plan: Plan) -> None:
    progress = uploads.begin(target, plan)
    name, file = next(iter(plan.files.items()))
    target.upload_part(progress.uploads[name], 1, 0, memoryview(bytes(file.part_offsets[1])))
    found = find_leftovers(target, time.time() + 8 * DAY, 7 * DAY)
    assert len(found.stale) == 3
    assert sum(item.bytes for item in found.stale) == file.part_offsets[1]
    assert find_leftovers(target, time.time() + 6 * DAY, 7 * DAY).stale == ()


def test_an_upload_that_was_never_recorded_is_found(
    target: Store, plan: Plan, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run was killed between beginning its uploads and recording them."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(uploads, "_record", killed)
        for cleaning in ("abort", "delete", "check_writable"):
            patch.setattr(target, cleaning, lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            uploads.begin(target, plan)
    assert len(target.list_uploads()) == 2
    assert len(_gc(capsys, target.uri, "--older-than", "0s", "--delete")["stale"]) == 3
    assert list(target.list_uploads()) == []
    assert target.list() == []


def test_uploads_of_a_live_run_are_left_alone(target: Store, plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    uploads.begin(target, plan)
    lease = acquire(target, "sync of m")
    assert _gc(capsys, target.uri, "--older-than", "0s")["holder"]["owner"]["job"] == "sync of m"
    assert main(["gc", target.uri, "--older-than", "0s", "--delete"]) == 5
    assert "holds the lease" in capsys.readouterr().err
    assert len(target.list_uploads()) == 2
    lease.release()


@pytest.mark.s3
def test_uploads_of_others_in_the_bucket_are_left_alone(
    s3_prefix: str, tinylm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store(s3_prefix)
    other = store.create_upload("backup-Q8_0.gguf", 10, {})
    plan = ladder_job.make_plan(JobSpec(source=tinylm, ladder=("Q8_0",), to=store.uri), store)
    uploads.begin(store, plan)
    found = _gc(capsys, store.uri, "--older-than", "0s", "--delete")
    assert [item["name"] for item in found["stale"] if item["kind"] == "upload"] == ["tinylm-Q8_0.gguf"]
    assert [entry.upload.id for entry in store.list_uploads()] == [other.id]
    store.abort(other)
