"""The uploads of a plan: shared by its runs, never lost, never left behind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ggufactory.architectures import describe
from ggufactory.assemble import uploads
from ggufactory.assemble.job_state import STATE_FOLDER, list_states
from ggufactory.checkpoint import open_checkpoint
from ggufactory.errors import InputError, UnavailableError, UploadGoneError
from ggufactory.plan import plan as planning
from ggufactory.plan.plan import Plan
from ggufactory.plan.progress import Progress
from ggufactory.storage import open_store
from ggufactory.storage.protocol import Store, Upload


@pytest.fixture
def target(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "out"))


@pytest.fixture(scope="module")
def plan() -> Plan:
    checkpoint = open_checkpoint(str(Path(__file__).parents[1] / "data" / "tinylm"))
    return planning.make(
        describe(checkpoint),
        ["Q8_0", "Q4_K_M"],
        name="m",
        source=checkpoint.store.uri,
        files=checkpoint.files,
        limits=open_store("/nowhere").limits,
        quantizable=frozenset({"Q8_0", "Q6_K", "Q4_K", "F32"}),
    )


def _store_parts(store: Store, plan: Plan, progress: Progress) -> None:
    """Parts of zeros, of the planned sizes."""
    for name, file in plan.files.items():
        for number, (start, stop) in enumerate(zip(file.part_offsets, file.part_offsets[1:], strict=False), 1):
            upload = progress.uploads[name]
            progress.parts[name][number] = store.upload_part(upload, number, start, memoryview(bytes(stop - start)))


def _complete(store: Store, plan: Plan, progress: Progress) -> None:
    for file in plan.files.values():
        uploads.complete(store, file, progress)


def test_two_runs_share_them(target: Store, plan: Plan) -> None:
    first = uploads.begin(target, plan)
    name = next(iter(plan.files))
    file = plan.files[name]
    part = target.upload_part(first.uploads[name], 1, 0, memoryview(bytes(file.part_offsets[1])))
    second = uploads.begin(target, plan)
    assert second.uploads == first.uploads
    assert second.parts[name] == {1: part}


def test_whoever_records_first_wins(target: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run records its uploads after ours were begun: ours are dropped, its are used."""
    others: list[Progress] = []
    created: list[Upload] = []
    create = target.create_upload

    def overtaken(name: str, size: int, metadata: Mapping[str, str]) -> Upload:
        upload = create(name, size, metadata)
        created.append(upload)
        if not others:
            others.append(Progress())
            others[0] = uploads.begin(target, plan)
        return upload

    monkeypatch.setattr(target, "create_upload", overtaken)
    ours = uploads.begin(target, plan)
    assert ours.uploads == others[0].uploads
    dropped = [upload for upload in created if upload not in ours.uploads.values()]
    assert len(dropped) == 2
    for upload in dropped:
        with pytest.raises(UploadGoneError):
            target.list_parts(upload)


def test_an_upload_that_somebody_aborted_is_begun_anew(target: Store, plan: Plan) -> None:
    first = uploads.begin(target, plan)
    lost, kept = plan.files
    target.abort(first.uploads[lost])
    second = uploads.begin(target, plan)
    assert second.uploads[kept] == first.uploads[kept]
    assert second.uploads[lost] != first.uploads[lost]
    assert uploads.begin(target, plan).uploads == second.uploads


def test_finished_by_another_run(target: Store, plan: Plan) -> None:
    ours = uploads.begin(target, plan)
    _store_parts(target, plan, ours)
    theirs = uploads.begin(target, plan)
    _complete(target, plan, theirs)
    _complete(target, plan, ours)
    assert set(uploads.begin(target, plan).finished) == set(plan.files)


def test_finished_and_its_state_removed_while_we_looked(
    target: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = uploads.begin(target, plan)
    _store_parts(target, plan, theirs)
    check = target.check_writable

    def overtaken() -> None:
        _complete(target, plan, theirs)
        uploads.end(target, plan)
        monkeypatch.setattr(target, "check_writable", check)

    monkeypatch.setattr(target, "check_writable", overtaken)
    ours = uploads.begin(target, plan)
    assert set(ours.finished) == set(plan.files)
    assert [info.name for info in target.list(STATE_FOLDER)] == []


def test_a_file_of_that_name_that_is_another_is_not_taken_for_ours(target: Store, plan: Plan) -> None:
    name = next(iter(plan.files))
    target.put(name, bytes(plan.files[name].size))
    assert uploads.begin(target, plan).finished == {}


def test_a_part_of_another_size_is_made_again(target: Store, plan: Plan) -> None:
    progress = uploads.begin(target, plan)
    name = next(iter(plan.files))
    target.upload_part(progress.uploads[name], 2, plan.files[name].part_offsets[1], memoryview(b"short"))
    assert uploads.begin(target, plan).parts[name] == {}


def test_when_the_second_file_has_no_room_the_first_is_not_left(
    target: Store, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = target.create_upload

    def full(name: str, *arguments: Any) -> Upload:
        if name == list(plan.files)[1]:
            raise UnavailableError("no room")
        return create(name, *arguments)

    monkeypatch.setattr(target, "create_upload", full)
    with pytest.raises(UnavailableError, match="no room"):
        uploads.begin(target, plan)
    left = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.stat().st_size]
    assert left == []


def test_a_plan_that_is_abandoned_leaves_nothing(target: Store, plan: Plan, tmp_path: Path) -> None:
    progress = uploads.begin(target, plan)
    _store_parts(target, plan, progress)
    uploads.abandon(target, plan, progress)
    assert target.list() == []
    assert not any(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file())


@pytest.mark.parametrize("state", [b"", b"[]", b'{"fingerprint": "other", "uploads": {}}', b'{"uploads": {"a": 1}}'])
def test_state_that_is_not_ours_is_refused(target: Store, plan: Plan, state: bytes) -> None:
    target.put(uploads.state_name(plan), state)
    with pytest.raises(InputError, match=r"is not the state of (a|this) plan"):
        uploads.begin(target, plan)


def test_the_state_says_what_a_reader_of_the_store_has_to_know(target: Store, plan: Plan) -> None:
    progress = uploads.begin(target, plan)
    (state,) = list_states(target)
    assert (state.fingerprint, state.name, state.source) == (plan.fingerprint, plan.name, plan.source)
    assert state.uploads == {name: upload.id for name, upload in progress.uploads.items()}
    assert {name: (f.rung, f.size, f.parts, f.identity) for name, f in state.files.items()} == {
        file.name: (rung.name, file.size, file.parts, file.identity) for rung in plan.rungs for file in rung.files
    }
    assert state.began is not None
    assert state.parked == {}


def test_a_state_of_an_older_release_is_resumed(target: Store, plan: Plan) -> None:
    """One that has nothing but the fingerprint and the uploads."""
    first = uploads.begin(target, plan)
    old = {"fingerprint": plan.fingerprint, "uploads": {name: upload.id for name, upload in first.uploads.items()}}
    target.put(uploads.state_name(plan), json.dumps(old).encode())
    assert uploads.begin(target, plan).uploads == first.uploads


def test_a_state_is_there_before_the_first_upload(target: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that whoever finds an upload of a run that was killed then knows whose it is."""
    seen = []

    def killed(name: str, *_: Any) -> Upload:
        seen.append([name in state.files for state in list_states(target)])
        raise SystemExit

    monkeypatch.setattr(target, "create_upload", killed)
    with pytest.raises(SystemExit):
        uploads.begin(target, plan)
    assert seen == [[True]]


def test_parked_spans_are_noted_bounded_and_forgotten(target: Store, plan: Plan) -> None:
    uploads.begin(target, plan)
    uploads.park(target, plan, {f"span {n}": "x" * 10_000 for n in range(1000)})
    (state,) = list_states(target)
    assert len(state.parked) == 200
    assert {len(why) for why in state.parked.values()} == {500}
    uploads.park(target, plan, {})
    assert list_states(target)[0].parked == {}
