"""Every promise of storage/protocol.py, kept by a folder and by a real S3 server alike."""

from __future__ import annotations

import os
import pickle
import threading
import time
import zlib
from collections.abc import Callable

import pytest

from ggufactory.errors import InputError, SourceChangedError, UnavailableError, UploadGoneError
from ggufactory.storage import Part, Store, Upload, open_store

PART = 5 << 20
"""S3's smallest part that is not the last."""

AWKWARD_NAMES = [
    "model-00001-of-00002.safetensors",
    "a/b/c.json",
    "with space + plus & more=%41.txt",
    "Modèle-π-模型.gguf",
    "..hidden",
    "~tilde",
    "#hash?query",
]
REFUSED_NAMES = ["", ".", "..", "../x", "a/../../x", "/etc/passwd", "a//b", "a/", "./a", "nul\0", "a\nb", "x" * 1025]


def blob(size: int, seed: int = 1) -> bytes:
    return bytes((seed * 31 + index * 7) % 251 for index in range(min(size, 65521))) * (size // 65521 + 1)


def content(*sizes: int) -> list[bytes]:
    return [blob(size, seed)[:size] for seed, size in enumerate(sizes)]


def upload_all(store: Store, upload: Upload, chunks: list[bytes]) -> list[Part]:
    parts, offset = [], 0
    for number, chunk in enumerate(chunks, 1):
        parts.append(store.upload_part(upload, number, offset, memoryview(chunk)))
        offset += len(chunk)
    return parts


def whole(store: Store, name: str) -> bytes:
    found = store.read(name, limit=1 << 30)
    assert found is not None
    return found[0]


# --- reading ---


def test_an_empty_store_has_nothing(store: Store) -> None:
    assert store.stat("x") is None
    assert store.read("x", limit=10) is None
    assert store.list() == []
    store.delete("x")


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_a_name_comes_back_as_it_was_given(store: Store, name: str) -> None:
    written = store.put(name, b"content")
    assert [info.name for info in store.list()] == [name]
    info = store.stat(name)
    assert info is not None
    assert written is not None
    assert (info.name, info.size, info.etag) == (name, 7, written.etag)
    assert store.list()[0].etag == info.etag
    assert store.read(name, limit=7) == (b"content", store.list()[0])


@pytest.mark.parametrize("name", REFUSED_NAMES)
def test_a_name_that_leads_elsewhere_is_refused_by_every_method(store: Store, name: str) -> None:
    upload = Upload(name, "0" * 32, 1)
    buffer = memoryview(bytearray(1))
    for call in [
        lambda: store.stat(name),
        lambda: store.read(name, limit=1),
        lambda: store.read_into(name, 0, buffer),
        lambda: store.put(name, b""),
        lambda: store.delete(name),
        lambda: store.create_upload(name, 1, {}),
        lambda: store.upload_part(upload, 1, 0, buffer),
        lambda: store.list_parts(upload),
        lambda: store.complete(upload, []),
        lambda: store.abort(upload),
    ]:
        with pytest.raises(InputError, match="cannot be the name of an object"):
            call()


def test_list_is_sorted_and_filtered_by_the_start_of_names(store: Store) -> None:
    names = ["b", "a/2", "a/10", "a.txt", "ab/c/d", "B"]
    for name in names:
        store.put(name, name.encode())
    assert [info.name for info in store.list()] == sorted(names)
    assert [info.name for info in store.list("a")] == ["a.txt", "a/10", "a/2", "ab/c/d"]
    assert [info.name for info in store.list("a/")] == ["a/10", "a/2"]
    assert [info.name for info in store.list("ab/c/")] == ["ab/c/d"]
    assert [info.size for info in store.list("ab")] == [6]
    assert store.list("zz") == []
    assert store.list("../") == []


def test_list_sees_only_its_own_prefix(store: Store, uri: str) -> None:
    open_store(uri + "-sibling").put("x", b"")
    open_store(uri + "/below").put("y", b"")
    assert [info.name for info in store.list()] == ["below/y"]


def test_read_refuses_an_object_over_the_limit(store: Store) -> None:
    store.put("big.json", b"x" * 11)
    assert whole(store, "big.json") == b"x" * 11
    with pytest.raises(InputError, match=r"big\.json.*11 bytes.*10"):
        store.read("big.json", limit=10)


def test_read_into_fills_any_range(store: Store) -> None:
    data = blob(3 << 20)[: 3 << 20]
    info = store.put("weights", data)
    assert info is not None
    for offset, size in [(0, len(data)), (0, 1), (len(data) - 1, 1), (12345, 1 << 20), (1, 2 << 20)]:
        buffer = bytearray(size)
        store.read_into("weights", offset, memoryview(buffer), etag=info.etag)
        assert buffer == data[offset : offset + size]
    store.read_into("weights", 5, memoryview(bytearray()), etag=info.etag)


def test_read_into_fills_a_window_of_a_typed_buffer(store: Store) -> None:
    store.put("numbers", bytes(range(16)))
    array = bytearray(24)
    store.read_into("numbers", 4, memoryview(array)[8:16].cast("I"))
    assert array == bytes(8) + bytes(range(4, 12)) + bytes(8)


@pytest.mark.parametrize(("offset", "size"), [(0, 5), (3, 2), (4, 1), (100, 1)])
def test_read_into_past_the_end_is_an_input_error(store: Store, offset: int, size: int) -> None:
    store.put("short", b"1234")
    with pytest.raises(InputError, match=f"short.*{offset} to {offset + size}.*ends"):
        store.read_into("short", offset, memoryview(bytearray(size)))


def test_read_into_of_a_missing_object(store: Store) -> None:
    with pytest.raises(InputError, match="there is no such"):
        store.read_into("gone", 0, memoryview(bytearray(1)))
    with pytest.raises(SourceChangedError):
        store.read_into("gone", 0, memoryview(bytearray(1)), etag='"was here"')


def test_read_into_notices_a_changed_object(store: Store) -> None:
    first = store.put("source", b"old content")
    assert first is not None
    store.put("source", b"new content")
    with pytest.raises(SourceChangedError, match=r"source.*changed"):
        store.read_into("source", 0, memoryview(bytearray(3)), etag=first.etag)
    now = store.stat("source")
    assert now is not None
    assert now.etag != first.etag
    buffer = bytearray(3)
    store.read_into("source", 0, memoryview(buffer), etag=now.etag)
    assert buffer == b"new"


# --- small objects ---


def test_put_replaces(store: Store) -> None:
    store.put("x", b"one")
    info = store.put("x", b"")
    assert info is not None
    assert (info.name, info.size) == ("x", 0)
    assert whole(store, "x") == b""


def test_create_only_writes_once_and_also_refuses_the_same_bytes(store: Store) -> None:
    assert store.put("lease", b"mine", create_only=True) is not None
    assert store.put("lease", b"mine", create_only=True) is None
    assert store.put("lease", b"yours", create_only=True) is None
    assert whole(store, "lease") == b"mine"
    store.delete("lease")
    assert store.put("lease", b"yours", create_only=True) is not None


def test_if_match_writes_only_over_the_version_it_names(store: Store) -> None:
    first = store.put("lease", b"1")
    assert first is not None
    second = store.put("lease", b"2", if_match=first.etag)
    assert second is not None
    assert store.put("lease", b"3", if_match=first.etag) is None
    assert whole(store, "lease") == b"2"
    store.delete("lease")
    assert store.put("lease", b"3", if_match=second.etag) is None
    assert store.stat("lease") is None


@pytest.mark.parametrize("how", ["create_only", "if_match"])
def test_of_many_writers_at_once_one_wins(store: Store, uri: str, how: str) -> None:
    conditions: dict[str, object] = {"create_only": True}
    if how == "if_match":
        seed = store.put("lease", b"seed")
        assert seed is not None
        conditions = {"if_match": seed.etag}
    barrier = threading.Barrier(6)
    won: list[bytes] = []

    def write(data: bytes) -> None:
        mine = open_store(uri)
        barrier.wait()
        if mine.put("lease", data, **conditions) is not None:  # type: ignore[arg-type]
            won.append(data)

    threads = [threading.Thread(target=write, args=(b"writer %d" % index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert whole(store, "lease") == won[0]


def test_delete_removes_and_may_be_repeated(store: Store) -> None:
    store.put("a/x", b"1")
    assert store.delete("a/x")
    assert store.delete("a/x")
    assert store.stat("a/x") is None
    assert store.list() == []


def test_check_writable_leaves_no_object(store: Store) -> None:
    store.check_writable()
    assert store.list() == []
    store.put("x", b"1")
    store.check_writable()
    assert [info.name for info in store.list()] == ["x"]


def test_a_store_opens_again_from_its_uri_and_travels_by_pickle(store: Store) -> None:
    store.put("x", b"1")
    assert whole(open_store(store.uri), "x") == b"1"
    assert whole(pickle.loads(pickle.dumps(store)), "x") == b"1"
    assert open_store(store.uri).uri == store.uri
    assert open_store(store.uri + "//").uri == store.uri


# --- uploads ---


def test_an_upload_becomes_the_object_only_when_completed(store: Store) -> None:
    chunks = content(PART, PART + 7, 3)
    data = b"".join(chunks)
    upload = store.create_upload("dir/model.gguf", len(data), {"plan": "abc 123", "empty": ""})
    assert (upload.name, upload.size) == ("dir/model.gguf", len(data))
    parts = upload_all(store, upload, chunks)
    assert store.stat("dir/model.gguf") is None
    assert store.list() == []
    assert [(part.number, part.size, part.crc32) for part in parts] == [
        (number, len(chunk), zlib.crc32(chunk)) for number, chunk in enumerate(chunks, 1)
    ]

    info = store.complete(upload, parts)
    assert whole(store, "dir/model.gguf") == data
    assert (info.name, info.size, info.crc32) == ("dir/model.gguf", len(data), zlib.crc32(data))
    assert dict(info.metadata) == {"plan": "abc 123", "empty": ""}
    assert store.stat("dir/model.gguf") == info
    assert [(found.name, found.etag) for found in store.list()] == [(info.name, info.etag)]


def test_parts_may_come_in_any_order_with_gaps_and_from_any_process(store: Store, uri: str) -> None:
    first, second, last = content(PART, PART + 1, 1)
    size = 2 * PART + 2
    upload = store.create_upload("m", size, {})
    parts = {
        9: open_store(uri).upload_part(upload, 9, size - 1, memoryview(last)),
        1: open_store(uri).upload_part(upload, 1, 0, memoryview(first)),
        4: store.upload_part(pickle.loads(pickle.dumps(upload)), 4, PART, memoryview(second)),
    }
    listed = store.list_parts(upload)
    assert list(listed) == [1, 4, 9]
    for number, part in listed.items():
        assert (part.size, part.etag) == (parts[number].size, parts[number].etag)
    store.complete(upload, [listed[number] for number in (1, 4, 9)])
    assert whole(store, "m") == first + second + last


def test_a_run_that_knows_only_the_list_completes_the_whole(store: Store, uri: str) -> None:
    chunks = content(PART, 10)
    upload = store.create_upload("m", PART + 10, {})
    upload_all(store, upload, chunks[:1])
    resumed = open_store(uri)
    stored = resumed.list_parts(upload)
    assert list(stored) == [1]
    stored[2] = resumed.upload_part(upload, 2, PART, memoryview(chunks[1]))
    assert resumed.complete(upload, [stored[1], stored[2]]).crc32 == zlib.crc32(b"".join(chunks))


def test_a_part_may_be_sent_again(store: Store) -> None:
    chunks = content(PART, 10)
    upload = store.create_upload("m", PART + 10, {})
    before = upload_all(store, upload, chunks)
    again = upload_all(store, upload, chunks)
    assert before == again
    assert list(store.list_parts(upload)) == [1, 2]
    store.complete(upload, again)
    assert whole(store, "m") == b"".join(chunks)


def test_a_part_may_be_sent_by_several_processes_at_once(
    store: Store, uri: str, fork: Callable[[Callable[[], object]], int]
) -> None:
    chunks = content(PART, 10)
    upload = store.create_upload("m", PART + 10, {})
    children = [fork(lambda: upload_all(open_store(uri), upload, chunks)) for _ in range(3)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    stored = store.list_parts(upload)
    store.complete(upload, [stored[1], stored[2]])
    assert whole(store, "m") == b"".join(chunks)


def test_a_part_that_was_sent_with_other_bytes_counts_only_as_its_last_copy_or_not_at_all(store: Store) -> None:
    old, new = content(20, 20)
    upload = store.create_upload("m", 20, {})
    store.upload_part(upload, 1, 0, memoryview(old))
    part = store.upload_part(upload, 1, 0, memoryview(new))
    listed = store.list_parts(upload)
    assert listed in ({}, {1: part}, {1: Part(1, 20, part.etag, None)})
    store.complete(upload, [part])
    assert whole(store, "m") == new


def test_complete_may_be_repeated_by_anyone(store: Store, uri: str) -> None:
    chunks = content(PART, 10)
    upload = store.create_upload("m", PART + 10, {"plan": "p"})
    parts = upload_all(store, upload, chunks)
    info = store.complete(upload, parts)
    assert store.complete(upload, parts) == info
    assert open_store(uri).complete(upload, parts) == info
    assert whole(store, "m") == b"".join(chunks)


def test_complete_by_several_processes_at_once_succeeds_in_all(
    store: Store, uri: str, fork: Callable[[Callable[[], object]], int]
) -> None:
    chunks = content(PART, 10)
    for attempt in range(3):
        upload = store.create_upload(f"m{attempt}", PART + 10, {"plan": "p"})
        parts = upload_all(store, upload, chunks)

        def finish() -> None:
            assert dict(open_store(uri).complete(upload, parts).metadata) == {"plan": "p"}  # noqa: B023

        children = [fork(finish) for _ in range(3)]
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
        assert whole(store, f"m{attempt}") == b"".join(chunks)


def test_complete_replaces_an_older_object_and_its_metadata(store: Store) -> None:
    store.put("m", b"older")
    for text in (b"first", b"second!"):
        upload = store.create_upload("m", len(text), {"made-of": text.decode()})
        store.complete(upload, [store.upload_part(upload, 1, 0, memoryview(text))])
        info = store.stat("m")
        assert info is not None
        assert dict(info.metadata) == {"made-of": text.decode()}
        assert whole(store, "m") == text
    store.put("m", b"plain")
    info = store.stat("m")
    assert info is not None
    assert dict(info.metadata) == {}


def test_a_completed_upload_takes_and_lists_no_parts(store: Store) -> None:
    upload = store.create_upload("m", 4, {})
    part = store.upload_part(upload, 1, 0, memoryview(b"done"))
    info = store.complete(upload, [part])
    with pytest.raises(UploadGoneError):
        store.upload_part(upload, 1, 0, memoryview(b"late"))
    with pytest.raises(UploadGoneError):
        store.list_parts(upload)
    store.abort(upload)
    assert store.stat("m") == info
    assert whole(store, "m") == b"done"


def test_complete_of_an_upload_whose_object_was_replaced(store: Store) -> None:
    upload = store.create_upload("m", 4, {})
    part = store.upload_part(upload, 1, 0, memoryview(b"mine"))
    store.complete(upload, [part])
    other = store.create_upload("m", 4, {})
    store.complete(other, [store.upload_part(other, 1, 0, memoryview(b"ours"))])
    with pytest.raises(UploadGoneError):
        store.complete(upload, [part])
    store.put("m", b"mine")
    with pytest.raises(UploadGoneError):
        store.complete(upload, [part])


def test_an_aborted_upload_is_gone_for_good(store: Store) -> None:
    store.put("m", b"older")
    upload = store.create_upload("m", 4, {})
    part = store.upload_part(upload, 1, 0, memoryview(b"mine"))
    store.abort(upload)
    store.abort(upload)
    for call in [
        lambda: store.upload_part(upload, 1, 0, memoryview(b"mine")),
        lambda: store.list_parts(upload),
        lambda: store.complete(upload, [part]),
    ]:
        with pytest.raises(UploadGoneError):
            call()
    assert whole(store, "m") == b"older"
    assert [info.name for info in store.list()] == ["m"]


@pytest.mark.parametrize("upload_id", ["unknown", "0" * 32])
def test_an_upload_that_never_was(store: Store, upload_id: str) -> None:
    upload = Upload("m", upload_id, 4)
    with pytest.raises(UploadGoneError):
        store.list_parts(upload)
    with pytest.raises(UploadGoneError):
        store.upload_part(upload, 1, 0, memoryview(b"mine"))
    with pytest.raises(UploadGoneError):
        store.complete(upload, [Part(1, 4, '"b3f952d5d9adea6f63bee9d4c6fceeaa"', None)])
    store.abort(upload)
    assert store.list() == []


def test_uploads_of_one_name_do_not_mix(store: Store) -> None:
    mine, other = (store.create_upload("m", 4, {}) for _ in range(2))
    assert mine.id != other.id
    part = store.upload_part(mine, 1, 0, memoryview(b"mine"))
    assert store.list_parts(other) == {}
    with pytest.raises((UnavailableError, UploadGoneError)):  # SeaweedFS: an upload without parts is gone
        store.complete(other, [part])
    store.complete(mine, [part])
    store.abort(other)
    assert whole(store, "m") == b"mine"


@pytest.mark.parametrize("fault", ["missing part", "other tag", "other checksum"])
def test_complete_verifies_the_parts(store: Store, fault: str) -> None:
    chunks = content(PART, 10)
    upload = store.create_upload("m", PART + 10, {})
    first, last = upload_all(store, upload, chunks)
    wrong = {
        "missing part": [first, Part(3, 10, last.etag, last.crc32)],
        "other tag": [first, Part(2, 10, first.etag, last.crc32)],
        "other checksum": [first, Part(2, 10, last.etag, zlib.crc32(b"other"))],
    }[fault]
    with pytest.raises(UnavailableError):
        store.complete(upload, wrong)
    assert store.stat("m") is None
    store.complete(upload, [first, last])
    assert whole(store, "m") == b"".join(chunks)


@pytest.mark.parametrize("metadata", [{"Upper": "x"}, {"a_b": "x"}, {"k": " x"}, {"k": "é"}, {"k": "x" * 3000}])
def test_metadata_that_would_not_come_back_is_refused(store: Store, metadata: dict[str, str]) -> None:
    with pytest.raises(InputError, match="metadata"):
        store.create_upload("m", 4, metadata)


def test_limits_are_sane(store: Store) -> None:
    limits = store.limits
    assert 1 <= limits.min_part_bytes <= PART
    assert limits.max_part_bytes >= 1 << 30
    assert limits.max_parts >= 10_000


# --- what is open ---


def test_open_uploads_are_listed_by_name_also_those_that_nobody_remembers(store: Store) -> None:
    assert store.list_uploads() == []
    before = time.time()
    opened = [store.create_upload(name, 4, {}) for name in ("b/m", "a", "b/m")]
    listed = store.list_uploads()
    assert sorted(found.upload.id for found in listed) == sorted(upload.id for upload in opened)
    assert [found.upload.name for found in listed] == ["a", "b/m", "b/m"]
    assert all(before - 60 < found.began < time.time() + 60 for found in listed)
    assert [found.upload.name for found in store.list_uploads("b/")] == ["b/m", "b/m"]
    store.complete(opened[1], [store.upload_part(opened[1], 1, 0, memoryview(b"done"))])
    store.abort(opened[0])
    assert [found.upload.id for found in store.list_uploads()] == [opened[2].id]
    store.abort(store.list_uploads()[0].upload)
    assert store.list_uploads() == []


def test_open_uploads_of_another_prefix_are_not_listed(store: Store, uri: str) -> None:
    other = open_store(uri + "-sibling")
    upload = other.create_upload("m", 4, {})
    assert store.list_uploads() == []
    other.abort(upload)


def test_listed_parts_tell_when_they_were_stored(store: Store) -> None:
    upload = store.create_upload("m", 4, {})
    before = time.time()
    part = store.upload_part(upload, 1, 0, memoryview(b"part"))
    (listed,) = store.list_parts(upload).values()
    assert listed.stored_at is not None
    assert before - 60 < listed.stored_at < time.time() + 60
    assert (listed.number, listed.size, listed.etag) == (part.number, part.size, part.etag)
    store.abort(upload)
