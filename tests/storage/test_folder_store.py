"""What a folder does beyond the shared contract: links, special files, and disks that fail or fill."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from ggufactory.errors import (
    InputError,
    SourceChangedError,
    TransientStoreError,
    UnavailableError,
    UploadGoneError,
)
from ggufactory.storage import Part, Store, Upload, open_store


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    path.mkdir()
    return path


@pytest.fixture
def store(root: Path) -> Store:
    return open_store(str(root))


def completed(store: Store, name: str, data: bytes, **metadata: str) -> None:
    upload = store.create_upload(name, len(data), metadata)
    store.complete(upload, [store.upload_part(upload, 1, 0, memoryview(data))])


def fail(monkeypatch: pytest.MonkeyPatch, function: str, number: int, path_part: str = "") -> None:
    """Make an `os` function fail with the error `number`, on files whose path holds `path_part`."""
    real = getattr(os, function)

    def failing(descriptor: int, *arguments: object) -> object:
        if path_part in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(number, os.strerror(number))
        return real(descriptor, *arguments)

    monkeypatch.setattr(os, function, failing)


# --- what lies in the folder ---


def test_files_put_there_by_others_are_objects(store: Store, root: Path) -> None:
    (root / "sub").mkdir()
    (root / "sub" / "model.safetensors").write_bytes(b"weights")
    assert [info.name for info in store.list()] == ["sub/model.safetensors"]
    assert store.read("sub/model.safetensors", limit=7) is not None


def test_reading_makes_nothing(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "missing"))
    assert (store.stat("x"), store.read("x", limit=1), store.list()) == (None, None, [])
    store.delete("x")
    with pytest.raises(InputError):
        store.read_into("x", 0, memoryview(bytearray(1)))
    assert list(tmp_path.iterdir()) == []


def test_a_file_written_in_place_is_another_version(store: Store, root: Path) -> None:
    info = store.put("source", b"old")
    assert info is not None
    with (root / "source").open("r+b") as file:
        file.write(b"new")
    os.utime(root / "source", ns=(1, 1))  # whatever the clock's resolution
    with pytest.raises(SourceChangedError):
        store.read_into("source", 0, memoryview(bytearray(3)), etag=info.etag)


def test_a_file_written_in_place_while_it_is_read(store: Store, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = store.put("source", b"old content")
    assert info is not None
    real = os.preadv

    def read_late(*arguments: object) -> int:
        count: int = real(*arguments)  # type: ignore[arg-type]
        os.utime(root / "source", ns=(1, 1))
        return count

    monkeypatch.setattr(os, "preadv", read_late)
    with pytest.raises(SourceChangedError):
        store.read_into("source", 0, memoryview(bytearray(3)), etag=info.etag)


def test_a_folder_is_no_object(store: Store, root: Path) -> None:
    (root / "sub").mkdir()
    assert store.stat("sub") is None
    assert store.list() == []
    for call in [
        lambda: store.read("sub", limit=1),
        lambda: store.read_into("sub", 0, memoryview(bytearray(1))),
        lambda: store.put("sub", b""),
    ]:
        with pytest.raises(InputError, match="sub"):
            call()


def test_a_pipe_is_no_object_and_does_not_hang(store: Store, root: Path) -> None:
    os.mkfifo(root / "pipe")
    assert store.stat("pipe") is None
    assert store.list() == []
    with pytest.raises(InputError, match="not a regular file"):
        store.read("pipe", limit=1)
    with pytest.raises(InputError, match="not a regular file"):
        store.read_into("pipe", 0, memoryview(bytearray(1)))


def test_a_store_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    store = open_store(str(tmp_path / "model.gguf"))
    assert store.stat("x") is None
    for call in [
        store.list,
        store.check_writable,
        lambda: store.put("x", b""),
        lambda: store.create_upload("x", 1, {}),
    ]:
        with pytest.raises(InputError, match=r"model\.gguf"):
            call()
    assert (tmp_path / "model.gguf").read_bytes() == b"GGUF"


@pytest.mark.parametrize("name", [".ggufactory", ".ggufactory/lock", "sub/.ggufactory/lock"])
def test_the_private_folder_is_out_of_reach(store: Store, name: str) -> None:
    store.put("x", b"1")
    with pytest.raises(InputError, match=r"\.ggufactory"):
        store.put(name, b"")
    with pytest.raises(InputError, match=r"\.ggufactory"):
        store.read(name, limit=1)
    assert [info.name for info in store.list()] == ["x"]


# --- links ---


def test_a_link_out_of_the_folder_is_refused(store: Store, root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "file").symlink_to("../secret")
    (root / "folder").symlink_to("..")
    for name in ("file", "folder/secret"):
        for call in [
            lambda name=name: store.stat(name),
            lambda name=name: store.read(name, limit=100),
            lambda name=name: store.read_into(name, 0, memoryview(bytearray(1))),
        ]:
            with pytest.raises(InputError, match=r"links to .*secret, outside"):
                call()
    with pytest.raises(InputError, match="outside"):
        store.put("folder/new", b"")
    with pytest.raises(InputError, match="outside"):
        store.create_upload("folder/new", 1, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret", "store"]


def test_writing_replaces_a_link_and_not_what_it_points_to(store: Store, root: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    for name in ("a", "b"):
        (root / name).symlink_to("../precious")
    completed(store, "b", b"new")
    with pytest.raises(InputError):
        store.stat("a")
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert (root / "b").read_bytes() == b"new"


def test_a_link_inside_the_folder_is_followed(tmp_path: Path, store: Store, root: Path) -> None:
    (root / "real").write_bytes(b"1")
    (root / "link").symlink_to("real")
    (tmp_path / "other way").symlink_to(root)
    assert [info.name for info in store.list()] == ["link", "real"]
    assert store.read("link", limit=1) is not None
    assert open_store(str(tmp_path / "other way")).read("link", limit=1) is not None


def test_rings_and_dangling_links_do_no_harm(store: Store, root: Path) -> None:
    (root / "ring").symlink_to("ring")
    (root / "up").symlink_to(".")
    (root / "dangling").symlink_to("nothing")
    assert store.list() == []
    assert store.stat("dangling") is None
    with pytest.raises(InputError):
        store.read("ring", limit=1)
    assert store.put("dangling", b"", create_only=True) is None


def test_the_links_of_a_hugging_face_cache_are_followed(tmp_path: Path) -> None:
    repository = tmp_path / "models--org--name"
    revision = repository / "snapshots" / "abc"
    (repository / "blobs").mkdir(parents=True)
    revision.mkdir(parents=True)
    (repository / "blobs" / "123").write_bytes(b"weights")
    (tmp_path / "elsewhere").write_bytes(b"elsewhere")
    (revision / "model.safetensors").symlink_to("../../blobs/123")
    (revision / "bad").symlink_to("../../../elsewhere")
    store = open_store(str(revision))
    found = store.read("model.safetensors", limit=7)
    assert found is not None
    assert found[0] == b"weights"
    with pytest.raises(InputError, match="outside"):
        store.read("bad", limit=100)


# --- metadata ---


def test_a_file_that_was_replaced_by_hand_has_no_metadata(store: Store, root: Path) -> None:
    completed(store, "m", b"ours", plan="p")
    (root / "new").write_bytes(b"mine")
    (root / "new").rename(root / "m")
    info = store.stat("m")
    assert info is not None
    assert (dict(info.metadata), info.crc32) == ({}, None)


def test_an_object_that_is_no_more_leaves_no_record(store: Store, root: Path) -> None:
    for end in (lambda: store.delete("m"), lambda: store.put("m", b"other")):
        completed(store, "m", b"ours", plan="p")
        assert list((root / ".ggufactory" / "objects").rglob("*.json"))
        end()
        assert not list((root / ".ggufactory" / "objects").iterdir())


@pytest.mark.parametrize(
    "record",
    [
        b"", b"\xff", b"[]", b"{}", b"[" * 60000, b'{"upload": "x", "crc32": -1, "metadata": {}}',
        b'{"upload": "x", "crc32": 1, "metadata": {"k": 1}}', b'{"upload": "x", "crc32": 1, "metadata": []}',
        b" " * 100_000 + b'{"upload": "x", "crc32": 1, "metadata": {"k": "v"}}',
    ],
)  # fmt: skip
def test_a_strangers_record_is_not_believed(store: Store, root: Path, record: bytes) -> None:
    completed(store, "m", b"ours", plan="p")
    (path,) = (root / ".ggufactory" / "objects").rglob("*.json")
    path.write_bytes(record)
    info = store.stat("m")
    assert info is not None
    assert (dict(info.metadata), info.crc32, info.size) == ({}, None, 4)


# --- disks that fail or fill ---


def test_a_disk_that_is_too_small_is_found_when_the_upload_is_made(
    store: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fallocate")  # it would fill the disk before it fails
    size = shutil.disk_usage(root).free + (1 << 40)
    with pytest.raises(
        UnavailableError, match=rf"m\.gguf: needs {size:,} bytes on the disk of {root}, [\d,]+ are free"
    ):
        store.create_upload("m.gguf", size, {})
    assert list((root / ".ggufactory" / "uploads").iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_while_the_space_is_claimed(
    store: Store, root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fail(monkeypatch, "posix_fallocate", number)
    with pytest.raises(UnavailableError, match=r"m: needs 4 bytes .* [\d,]+ are free"):
        store.create_upload("m", 4, {})
    assert list((root / ".ggufactory" / "uploads").iterdir()) == []


def test_the_space_is_claimed(store: Store, root: Path) -> None:
    upload = store.create_upload("m", 1 << 20, {})
    content = root / ".ggufactory" / "uploads" / upload.id / "content"
    assert content.stat().st_size == 1 << 20
    assert content.stat().st_blocks * 512 >= 1 << 20


ERRORS = [
    (errno.ENOSPC, UnavailableError, "space"),
    (errno.EDQUOT, UnavailableError, "space"),
    (errno.EROFS, InputError, "permissions"),
    (errno.EACCES, InputError, "permissions"),
    (errno.EIO, TransientStoreError, ""),
    (errno.ESTALE, TransientStoreError, ""),
    (errno.ENOLCK, UnavailableError, ""),
]


@pytest.mark.parametrize("function", ["pwrite", "fsync"])
@pytest.mark.parametrize(("number", "kind", "advice"), ERRORS)
def test_a_small_write_that_fails(
    store: Store, monkeypatch: pytest.MonkeyPatch, function: str, number: int, kind: type[Exception], advice: str
) -> None:
    store.put("x", b"old")
    with monkeypatch.context() as patch:
        fail(patch, function, number)
        with pytest.raises(kind, match=f"{os.strerror(number)}.*{advice}") as caught:
            store.put("x", b"new")
        assert type(caught.value) is kind
    found = store.read("x", limit=3)
    assert found is not None
    assert found[0] == b"old"


@pytest.mark.parametrize("function", ["pwrite", "fdatasync"])
@pytest.mark.parametrize("file", ["content", "receipts"])
@pytest.mark.parametrize(("number", "kind", "advice"), ERRORS)
def test_a_part_that_cannot_be_written(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    file: str,
    number: int,
    kind: type[Exception],
    advice: str,
) -> None:
    upload = store.create_upload("m", 4, {})
    with monkeypatch.context() as patch:
        fail(patch, function, number, file)
        with pytest.raises(kind, match=f"{os.strerror(number)}.*{advice}") as caught:
            store.upload_part(upload, 1, 0, memoryview(b"part"))
        assert type(caught.value) is kind
    if file == "content":
        assert store.list_parts(upload) == {}
    store.complete(upload, [store.upload_part(upload, 1, 0, memoryview(b"part"))])


# --- check_writable ---


def test_check_writable_makes_the_folder_and_nothing_else(tmp_path: Path) -> None:
    open_store(str(tmp_path / "a" / "b")).check_writable()
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["a", "a/b"]


def test_check_writable_keeps_what_is_there(store: Store) -> None:
    completed(store, "m", b"ours", plan="p")
    upload = store.create_upload("n", 4, {})
    store.check_writable()
    assert store.list_parts(upload) == {}
    info = store.stat("m")
    assert info is not None
    assert dict(info.metadata) == {"plan": "p"}


@pytest.mark.parametrize("function", ["pwrite", "fsync"])
def test_check_writable_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    fail(monkeypatch, function, errno.EROFS, ".ggufactory")
    with pytest.raises(InputError):
        open_store(str(tmp_path / "a" / "b")).check_writable()
    assert list(tmp_path.iterdir()) == []


# --- uploads ---


@pytest.mark.parametrize("upload_id", ["", "../../../x", "/etc", "A" * 32, "0" * 32 + "\n", "0" * 31 + "/"])
def test_an_id_that_is_none_of_ours_reaches_no_file(store: Store, tmp_path: Path, upload_id: str) -> None:
    store.create_upload("other", 4, {})  # or there is no folder to climb out of
    elsewhere = tmp_path / "x"
    elsewhere.mkdir()
    for name in ("content", "receipts"):
        (elsewhere / name).write_bytes(b"mine")
    upload = Upload("m", upload_id, 4)
    for call in [
        lambda: store.list_parts(upload),
        lambda: store.upload_part(upload, 1, 0, memoryview(b"part")),
        lambda: store.complete(upload, [Part(1, 4, "4-00000000", None)]),
    ]:
        with pytest.raises(UploadGoneError):
            call()
    store.abort(upload)
    assert [(elsewhere / name).read_bytes() for name in ("content", "receipts")] == [b"mine"] * 2


def test_parts_that_leave_a_hole_or_overlap_do_not_make_an_object(store: Store) -> None:
    upload = store.create_upload("m", 6, {})
    first = store.upload_part(upload, 1, 0, memoryview(b"abc"))
    hole = store.upload_part(upload, 2, 4, memoryview(b"ef"))
    overlap = store.upload_part(upload, 3, 2, memoryview(b"cde"))
    for parts in ([first, hole], [first, overlap], [first], []):
        with pytest.raises(UnavailableError, match="do not make the object"):
            store.complete(upload, parts)
    assert store.stat("m") is None


def test_small_parts_are_allowed(store: Store) -> None:
    upload = store.create_upload("m", 3, {})
    parts = [store.upload_part(upload, n, n - 1, memoryview(b"x")) for n in (1, 2, 3)]
    assert store.complete(upload, parts).size == 3
    assert store.limits.min_part_bytes == 1


def test_the_last_object_takes_its_folders_with_it(store: Store, tmp_path: Path) -> None:
    for name in ("a/b/x", "a/y"):
        store.put(name, b"data")
    store.delete("a/b/x")
    assert not (tmp_path / "store" / "a" / "b").exists()
    store.delete("a/y")
    assert not (tmp_path / "store" / "a").exists()
    assert (tmp_path / "store").exists()
