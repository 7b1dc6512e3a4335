"""The S3 store against a real server: access, duplicates of parts, and a server that is killed."""

from __future__ import annotations

import threading
import uuid
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from ggufactory.errors import GgufactoryError, InputError, TransientStoreError
from ggufactory.storage import Store, Upload, open_store
from weed import Weed

pytestmark = pytest.mark.s3

PART = 5 << 20


@pytest.fixture
def prefix() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def store(s3: Weed, prefix: str) -> Store:
    return open_store(f"s3://gguf/{prefix}")


def use(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)


def test_a_browser_is_told_what_it_is_shown(s3: Weed, prefix: str, store: Store) -> None:
    wanted = {"report.html": "text/html; charset=utf-8", "m.errors.svg": "image/svg+xml", "m.errors.png": "image/png"}
    for name, kind in wanted.items():
        store.put(name, b"x")
        assert s3.client().head_object(Bucket="gguf", Key=f"{prefix}/{name}")["ContentType"] == kind


# --- access ---


@pytest.mark.parametrize(("key", "secret"), [(Weed.ADMIN[0], "not-the-secret"), ("nobody", Weed.ADMIN[1])])
def test_wrong_credentials(s3: Weed, store: Store, monkeypatch: pytest.MonkeyPatch, key: str, secret: str) -> None:
    use(monkeypatch, s3.environment((key, secret)))
    for call in [lambda: store.stat("x"), lambda: store.put("x", b""), store.list, store.check_writable]:
        with pytest.raises(InputError, match="credentials") as caught:
            call()
        assert s3.endpoint in str(caught.value)
        assert secret not in str(caught.value)


def test_a_missing_bucket_is_named_by_every_method_and_not_made(s3: Weed) -> None:
    store = open_store("s3://no-such-bucket/x")
    upload = Upload("m", "id", 1)
    for call in [
        lambda: store.stat("m"),
        lambda: store.list(),
        lambda: store.read("m", limit=1),
        lambda: store.read_into("m", 0, memoryview(bytearray(1))),
        lambda: store.put("m", b""),
        lambda: store.check_writable(),
        lambda: store.create_upload("m", 1, {}),
        lambda: store.delete("m"),
    ]:
        with pytest.raises(InputError, match=r"s3://no-such-bucket\b.* at http://127.*no such bucket"):
            call()
    for call in [
        lambda: store.upload_part(upload, 1, 0, memoryview(b"1")),
        lambda: store.list_parts(upload),
    ]:
        with pytest.raises(GgufactoryError):
            call()
    assert "no-such-bucket" not in {bucket["Name"] for bucket in s3.client().list_buckets()["Buckets"]}


def test_what_a_worker_may_not_do_is_an_input_error(s3: Weed, monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    open_store(f"s3://models/{prefix}").put("config.json", b"{}")
    use(monkeypatch, s3.environment(Weed.WORKER))
    source, target = (open_store(f"s3://{bucket}/{prefix}") for bucket in ("models", "gguf"))
    assert source.read("config.json", limit=2) is not None
    target.check_writable()
    for call in [source.check_writable, lambda: source.create_upload("m", 1, {})]:
        with pytest.raises(InputError, match=rf"s3://models/{prefix}.*AccessDenied"):
            call()
    assert [info.name for info in source.list()] == ["config.json"]


# --- names ---


def test_a_whole_bucket_is_a_store(s3: Weed, prefix: str) -> None:
    store = open_store("s3://models/")
    assert store.uri == "s3://models"
    store.put(f"{prefix}/a b/é.json", b"{}")
    assert [info.name for info in store.list(prefix)] == [f"{prefix}/a b/é.json"]
    assert open_store(f"s3://models/{prefix}/a b").list()[0].name == "é.json"


def test_more_objects_than_a_page_holds(store: Store) -> None:
    names = [f"{index:04}" for index in range(1003)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.put(name, b""), names))
    assert [info.name for info in store.list()] == names
    assert len(store.list("1")) == 3


# --- uploads ---


def test_the_finished_object_carries_its_metadata_and_checksum(s3: Weed, store: Store, prefix: str) -> None:
    upload = store.create_upload("m.gguf", 4, {"plan": "abc"})
    store.complete(upload, [store.upload_part(upload, 1, 0, memoryview(b"GGUF"))])
    head = s3.client().head_object(Bucket="gguf", Key=f"{prefix}/m.gguf", ChecksumMode="ENABLED")
    assert head["Metadata"] == {"plan": "abc"}
    assert head["ChecksumType"] == "FULL_OBJECT"
    info = store.stat("m.gguf")
    assert info is not None
    assert info.crc32 == zlib.crc32(b"GGUF")


def test_copies_of_a_part_that_differ_are_no_part(s3: Weed, store: Store, prefix: str) -> None:
    upload = store.create_upload("m", 8, {})
    old = store.upload_part(upload, 1, 0, memoryview(b"old part"))
    same = [store.upload_part(upload, 2, 0, memoryview(b"the same")) for _ in range(3)]
    new = store.upload_part(upload, 1, 0, memoryview(b"new part"))
    listed = s3.client().list_parts(Bucket="gguf", Key=f"{prefix}/m", UploadId=upload.id)["Parts"]
    assert [part["PartNumber"] for part in listed] == [1, 1, 2, 2, 2]  # or this test shows nothing
    assert old.etag != new.etag
    assert {number: part.etag for number, part in store.list_parts(upload).items()} == {2: same[0].etag}
    store.complete(upload, [new])
    found = store.read("m", limit=8)
    assert found is not None
    assert found[0] == b"new part"


def test_bytes_that_are_damaged_on_the_way_are_not_stored(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = store.create_upload("m", 4, {})
    monkeypatch.setattr(zlib, "crc32", lambda data: 1)
    with pytest.raises(TransientStoreError, match="BadDigest"):
        store.upload_part(upload, 1, 0, memoryview(b"part"))
    assert store.list_parts(upload) == {}


# --- a server that goes away ---


def test_an_upload_outlives_the_server(s3: Weed, store: Store) -> None:
    chunks = [bytes([1]) * PART, bytes([2]) * PART, b"end"]
    upload = store.create_upload("m", 2 * PART + 3, {"plan": "p"})
    first = store.upload_part(upload, 1, 0, memoryview(chunks[0]))

    s3.kill()
    sent: list[object] = []
    waiting = threading.Thread(target=lambda: sent.append(store.upload_part(upload, 2, PART, memoryview(chunks[1]))))
    waiting.start()  # finds no server, and keeps trying
    s3.restart()
    waiting.join()
    assert len(sent) == 1

    stored = store.list_parts(upload)
    assert sorted(stored) == [1, 2]
    assert stored[1].etag == first.etag
    stored[3] = store.upload_part(upload, 3, 2 * PART, memoryview(chunks[2]))
    info = store.complete(upload, [stored[number] for number in (1, 2, 3)])
    assert (info.crc32, dict(info.metadata)) == (zlib.crc32(b"".join(chunks)), {"plan": "p"})

    s3.kill()
    s3.restart()
    assert store.stat("m") == info


def test_a_server_that_stays_away(s3: Weed, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    s3.kill()
    try:
        for call in [store.list, store.check_writable, lambda: store.put("x", b"")]:
            with pytest.raises(TransientStoreError, match=s3.endpoint):
                call()
    finally:
        s3.restart()
