"""A process that writes into a folder is killed before every single one of its system calls in turn.
After each kill the folder must be sound, and doing the same again must finish the work."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from ggufactory.errors import UploadGoneError
from ggufactory.storage import Part, Store, Upload, open_store

_CHANGING_CALLS = [
    "open", "pwrite", "fsync", "fdatasync", "posix_fallocate", "rename", "replace", "unlink", "mkdir", "rmdir",
]  # fmt: skip

CHUNKS = [b"first part, " * 9, b"second part" * 9]
DATA = b"".join(CHUNKS)

Fork = Callable[[Callable[[], object]], int]
Prepared = TypeVar("Prepared")


def kill_before_call(step: int) -> None:
    """From now on, let this process die by SIGKILL instead of making its system call number `step`. A write
    that is the last call is made by half."""
    calls = 0

    def wrap(name: str) -> None:
        real = getattr(os, name)

        def counting(*arguments: object, **options: object) -> object:
            nonlocal calls
            calls += 1
            if calls == step:
                if name == "pwrite":
                    descriptor, data, offset = arguments
                    real(descriptor, data[: len(data) // 2], offset)  # type: ignore[index, arg-type]
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        setattr(os, name, counting)

    for name in _CHANGING_CALLS:
        wrap(name)


def killed_at_every_step(
    fork: Fork, tmp_path: Path, prepare: Callable[[Store], Prepared], work: Callable[[Store, Prepared], object]
) -> Iterator[tuple[Store, Prepared]]:
    """Yields stores in which `work` was killed, one system call later each time, until it went through.
    It ran in a process of its own, on a new store and what `prepare` made there."""
    for step in range(1, 500):
        store = open_store(str(tmp_path / f"step{step}"))
        prepared = prepare(store)

        def run(step: int = step, store: Store = store, prepared: Prepared = prepared) -> None:
            kill_before_call(step)
            work(store, prepared)

        _, status = os.waitpid(fork(run), 0)
        assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL
        yield store, prepared
        if status == 0:
            assert step > 5
            return
    raise AssertionError("the work never ends")


def content(store: Store, name: str) -> bytes | None:
    found = store.read(name, limit=1 << 20)
    return None if found is None else found[0]


def metadata(store: Store, name: str) -> dict[str, str]:
    info = store.stat(name)
    assert info is not None
    return dict(info.metadata)


def leftovers(store: Store) -> list[str]:
    """What lies in the private folder less what belongs there."""
    private = Path(store.uri) / ".ggufactory"
    names = [str(path.relative_to(private)) for path in sorted(private.rglob("*")) if path.is_file()]
    return [name for name in names if name not in ("lock", "new") and not name.startswith("objects/")]


def upload_missing(store: Store, upload: Upload) -> list[Part]:
    """What a run does with an upload that it finds: send what is not stored."""
    stored = store.list_parts(upload)
    offset = 0
    for number, chunk in enumerate(CHUNKS, 1):
        if number not in stored:
            stored[number] = store.upload_part(upload, number, offset, memoryview(chunk))
        offset += len(chunk)
    return [stored[number] for number in sorted(stored)]


def new_upload(store: Store) -> Upload:
    return store.create_upload("m", len(DATA), {"version": "new"})


def test_a_listed_part_is_always_whole(tmp_path: Path, fork: Fork) -> None:
    offset, new = len(CHUNKS[0]), CHUNKS[1]

    def prepare(store: Store) -> tuple[Upload, Part]:
        # Other bytes are stored under the number already: their receipt must not vouch for the new ones.
        upload = new_upload(store)
        return upload, store.upload_part(upload, 2, offset, memoryview(new.upper()))

    def work(store: Store, prepared: tuple[Upload, Part]) -> None:
        store.upload_part(prepared[0], 2, offset, memoryview(new))

    seen = set()
    for store, (upload, old_part) in killed_at_every_step(fork, tmp_path, prepare, work):
        listed = store.list_parts(upload)
        directory = Path(store.uri) / ".ggufactory" / "uploads" / upload.id
        stored = (directory / "content").read_bytes()[offset:]
        if not listed:
            seen.add("none")
        elif listed[2] == old_part:
            assert stored == new.upper()
            seen.add("old")
        else:
            assert stored == new
            seen.add("new")
    assert seen == {"old", "none", "new"}


def test_a_killed_completion_is_finished_by_the_next_run(tmp_path: Path, fork: Fork) -> None:
    reference = open_store(str(tmp_path / "reference"))
    expected = upload_missing(reference, new_upload(reference))

    def prepare(store: Store) -> Upload:
        older = store.create_upload("m", 3, {"version": "old"})
        store.complete(older, [store.upload_part(older, 1, 0, memoryview(b"old"))])
        return new_upload(store)

    def work(store: Store, upload: Upload) -> None:
        store.complete(upload, upload_missing(store, upload))

    seen = set()
    for store, upload in killed_at_every_step(fork, tmp_path, prepare, work):
        state = (content(store, "m"), metadata(store, "m")["version"])
        assert state in [(b"old", "old"), (DATA, "new")]
        seen.add(state[1])
        try:
            assert upload_missing(store, upload) == expected
            assert state[1] == "old"
        except UploadGoneError:
            assert state[1] == "new"
        info = store.complete(upload, expected)
        assert (dict(info.metadata), info.size) == ({"version": "new"}, len(DATA))
        assert (content(store, "m"), metadata(store, "m")) == (DATA, {"version": "new"})
        assert leftovers(store) == []
        assert len(list((Path(store.uri) / ".ggufactory" / "objects").rglob("*.json"))) == 1
    assert seen == {"old", "new"}


def test_a_killed_abort_is_an_abort_or_none(tmp_path: Path, fork: Fork) -> None:
    def prepare(store: Store) -> tuple[Upload, list[Part]]:
        upload = new_upload(store)
        return upload, upload_missing(store, upload)

    seen = set()
    for store, (upload, parts) in killed_at_every_step(
        fork, tmp_path, prepare, lambda store, prepared: store.abort(prepared[0])
    ):
        try:
            assert list(store.list_parts(upload).values()) == parts
            store.complete(upload, parts)
        except UploadGoneError:
            pass
        seen.add(content(store, "m"))
    assert seen == {None, DATA}


def test_a_killed_creation_shows_nothing(tmp_path: Path, fork: Fork) -> None:
    for store, _ in killed_at_every_step(
        fork, tmp_path, lambda _: None, lambda store, _: store.create_upload("a/m", len(DATA), {})
    ):
        assert store.list() == []
        upload = store.create_upload("a/m", len(DATA), {})
        store.complete(upload, upload_missing(store, upload))
        assert content(store, "a/m") == DATA


@pytest.mark.parametrize("before", [None, b"old"])
def test_a_killed_put_is_the_old_or_the_new_object(tmp_path: Path, fork: Fork, before: bytes | None) -> None:
    def prepare(store: Store) -> None:
        if before is not None:
            store.put("a/x", before)

    seen = set()
    for store, _ in killed_at_every_step(fork, tmp_path, prepare, lambda store, _: store.put("a/x", b"new")):
        seen.add(content(store, "a/x"))
        assert [info.name for info in store.list()] in ([], ["a/x"])
        store.put("a/x", b"newer")
        assert content(store, "a/x") == b"newer"
    assert seen == {before, b"new"}


# --- the order in which data reaches the disk, which no SIGKILL can show ---


@pytest.fixture
def trace(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """(system call, name of the file) in order."""
    calls: list[tuple[str, str]] = []

    def wrap(name: str) -> None:
        real = getattr(os, name)

        def recording(target: object, *arguments: object) -> object:
            path = Path(f"/proc/self/fd/{target}").readlink() if isinstance(target, int) else Path(str(arguments[0]))
            calls.append((name, path.name))
            return real(target, *arguments)

        monkeypatch.setattr(os, name, recording)

    for name in ("pwrite", "fsync", "fdatasync", "replace"):
        wrap(name)
    return calls


def test_a_receipt_is_written_after_its_bytes_are_on_the_disk(tmp_path: Path, trace: list[tuple[str, str]]) -> None:
    store = open_store(str(tmp_path))
    upload = store.create_upload("m", 4, {})
    trace.clear()
    store.upload_part(upload, 1, 0, memoryview(b"part"))
    wanted = [("pwrite", "content"), ("fdatasync", "content"), ("pwrite", "receipts"), ("fdatasync", "receipts")]
    assert trace == wanted
    trace.clear()
    store.upload_part(upload, 1, 0, memoryview(b"PART"))
    assert trace == [("pwrite", "receipts"), ("fdatasync", "receipts"), *wanted]


def test_a_name_appears_after_its_content_and_its_record_are_on_the_disk(
    tmp_path: Path, trace: list[tuple[str, str]]
) -> None:
    store = open_store(str(tmp_path))
    upload = store.create_upload("m", 4, {})
    parts = [store.upload_part(upload, 1, 0, memoryview(b"part"))]
    trace.clear()
    info = store.complete(upload, parts)
    record = f"{info.etag}.json"
    order = [("fsync", "content"), ("fsync", "new"), ("replace", record), ("replace", "m"), ("fsync", tmp_path.name)]
    assert [call for call in trace if call in order] == order


# --- latecomers ---


def test_a_late_part_never_changes_a_finished_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(str(tmp_path))
    upload = store.create_upload("m", len(DATA), {"plan": "p"})
    parts = upload_missing(store, upload)
    writing, go_on = threading.Event(), threading.Event()
    real = os.pwrite

    def slow(descriptor: int, data: memoryview, offset: int) -> int:
        if threading.current_thread() is late:
            writing.set()
            go_on.wait()
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", slow)
    late = threading.Thread(target=store.upload_part, args=(upload, 1, 0, memoryview(CHUNKS[0])))
    late.start()
    writing.wait()
    finished: list[object] = []
    finisher = threading.Thread(target=lambda: finished.append(store.complete(upload, parts)))
    finisher.start()
    finisher.join(0.3)  # time for a completion that does not wait for the late part to go wrong
    go_on.set()
    late.join()
    finisher.join()
    assert finished == [store.stat("m")]
    assert content(store, "m") == DATA
    with pytest.raises(UploadGoneError):
        store.upload_part(upload, 1, 0, memoryview(CHUNKS[0]))
    assert leftovers(store) == []


def test_what_a_killed_creation_left_can_be_found_and_removed(tmp_path: Path, fork: Fork) -> None:
    for store, _ in killed_at_every_step(
        fork, tmp_path, lambda _: None, lambda store, _: store.create_upload("a/m", len(DATA), {})
    ):
        for found in store.list_uploads():
            assert found.certainly_ours
            store.abort(found.upload)
        assert store.list_uploads() == []
        assert not any(path.is_file() for path in (Path(store.uri) / ".ggufactory" / "uploads").rglob("*"))
