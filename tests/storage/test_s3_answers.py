"""How the S3 store deals with answers that are rare, wrong or lost. The server is scripted."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from xml.sax.saxutils import escape

import pytest

from ggufactory.errors import (
    GgufactoryError,
    InputError,
    SourceChangedError,
    TransientStoreError,
    UnavailableError,
    UploadGoneError,
)
from ggufactory.storage import Part, Store, Upload, open_store
from ggufactory.storage.s3_client import PartBody, s3_client
from scripted_server import Answer, Request, ScriptedServer

SECRET = "the/secret+key"
MIB = 1 << 20
Serve = Callable[[Callable[[Request], Answer]], ScriptedServer]


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    """One for all tests: at the same endpoint they share the client, which takes long to make."""
    with ScriptedServer(lambda request: Answer()) as server:
        yield server


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, server: ScriptedServer) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the-key-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.endpoint)


@pytest.fixture
def serve(server: ScriptedServer) -> Serve:
    def start(answer: Callable[[Request], Answer]) -> ScriptedServer:
        server.requests.clear()
        server.answer = answer
        return server

    return start


@pytest.fixture
def store() -> Store:
    return open_store("s3://bucket/prefix")


def error(status: int, code: str) -> Answer:
    body = f"<Error><Code>{code}</Code><Message>said {escape(code)}</Message></Error>"
    return Answer(status, body.encode())


def ranged(data: bytes, request: Request, etag: str = '"v1"', cut: int | None = None) -> Answer:
    """What S3 answers to a GET of a range."""
    if request.headers.get("if-match", etag) != etag:
        return error(412, "PreconditionFailed")
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers["range"])
    assert found is not None
    start, end = int(found[1]), min(int(found[2]) + 1, len(data))
    headers = {"ETag": etag, "Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}
    return Answer(206, data[start:end], headers, cut)


# --- reading ---


def test_a_broken_body_is_continued_where_it_broke(serve: Serve, store: Store) -> None:
    data = os.urandom(5 * MIB + 17)
    cuts = [2 * MIB + 5, None, None]
    server = serve(lambda request: ranged(data, request, cut=cuts[len(server.requests) - 1]))
    buffer = bytearray(4 * MIB)
    store.read_into("weights", MIB, memoryview(buffer))
    assert buffer == data[MIB : 5 * MIB]
    first, second = (request.headers for request in server.requests)
    assert first["range"] == f"bytes={MIB}-{5 * MIB - 1}"
    assert second["range"] == f"bytes={3 * MIB + 5}-{5 * MIB - 1}"
    assert "if-match" not in first
    assert second["if-match"] == '"v1"'


def test_an_object_replaced_while_its_body_is_broken_is_not_patched_together(serve: Serve, store: Store) -> None:
    data = bytes(3 * MIB)

    def answer(request: Request) -> Answer:
        first = len(server.requests) == 1
        return ranged(data, request, etag='"v1"' if first else '"v2"', cut=2 * MIB if first else None)

    server = serve(answer)
    with pytest.raises(SourceChangedError):
        store.read_into("weights", 0, memoryview(bytearray(3 * MIB)))


def test_a_body_that_never_comes_is_given_up(serve: Serve, store: Store) -> None:
    server = serve(lambda request: ranged(bytes(100), request, cut=0))
    with pytest.raises(TransientStoreError, match="s3://bucket/prefix/weights at http://127"):
        store.read_into("weights", 0, memoryview(bytearray(100)))
    assert len(server.requests) == 5


def test_a_server_that_ignores_ranges_is_found_out(serve: Serve, store: Store) -> None:
    serve(lambda request: Answer(200, bytes(100), {"ETag": '"v1"'}))
    with pytest.raises(UnavailableError, match="range"):
        store.read_into("weights", 10, memoryview(bytearray(100)))


def test_a_small_object_over_a_broken_connection(serve: Serve, store: Store) -> None:
    data = os.urandom(2 * MIB)

    def answer(request: Request) -> Answer:
        if "range" in request.headers:
            return ranged(data, request)
        return Answer(200, data, {"ETag": '"v1"'}, cut=MIB + 3)

    serve(answer)
    found = store.read("config.json", limit=2 * MIB)
    assert found is not None
    assert found[0] == data


# --- writing ---


def test_a_part_is_sent_as_it_lies_in_memory(serve: Serve, store: Store) -> None:
    data = os.urandom(3 * MIB + 1)
    server = serve(lambda request: Answer(200, headers={"ETag": '"tag"'}))
    part = store.upload_part(Upload("m", "id", 9), 7, 0, memoryview(bytearray(b"." + data))[1:])
    assert part == Part(7, len(data), '"tag"', zlib.crc32(data))
    (request,) = server.requests
    assert request.body == data
    assert request.query == {"uploadId": "id", "partNumber": "7"}
    assert request.headers["content-length"] == str(len(data))
    assert request.headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    checksum = base64.b64decode(request.headers["x-amz-checksum-crc32"])
    assert checksum == zlib.crc32(data).to_bytes(4, "big")
    assert "content-encoding" not in request.headers


def test_a_part_is_sent_from_its_start_after_a_failure(serve: Serve, store: Store) -> None:
    data = os.urandom(2 * MIB)
    answers = [error(503, "SlowDown"), Answer(drop=True), error(500, "InternalError")]

    def answer(request: Request) -> Answer:
        return answers.pop(0) if answers else Answer(200, headers={"ETag": '"tag"'})

    server = serve(answer)
    store.upload_part(Upload("m", "id", len(data)), 1, 0, memoryview(data))
    assert [request.body == data for request in server.requests] == [True] * 4


@pytest.mark.parametrize(("stored", "ours"), [(b"mine", True), (b"theirs", False)])
def test_a_created_object_whose_answer_was_lost_is_ours(serve: Serve, store: Store, stored: bytes, ours: bool) -> None:
    def answer(request: Request) -> Answer:
        if request.method == "GET":
            return Answer(200, stored, {"ETag": '"tag"'})
        return Answer(drop=True) if len(server.requests) == 1 else error(412, "PreconditionFailed")

    server = serve(answer)
    assert (store.put("lease", b"mine", create_only=True) is not None) is ours


def test_an_object_that_was_there_before_is_not_ours_whatever_it_holds(serve: Serve, store: Store) -> None:
    server = serve(lambda request: error(412, "PreconditionFailed"))
    assert store.put("lease", b"mine", create_only=True) is None
    assert len(server.requests) == 1


def test_a_conflict_of_writers_is_asked_again(serve: Serve, store: Store) -> None:
    answers = [error(409, "ConditionalRequestConflict"), error(409, "ConditionalRequestConflict")]
    server = serve(lambda request: answers.pop() if answers else Answer(200, headers={"ETag": '"tag"'}))
    assert store.put("lease", b"1", create_only=True) is not None
    assert {request.headers["if-none-match"] for request in server.requests} == {"*"}
    server.answer = lambda request: error(409, "ConditionalRequestConflict")
    with pytest.raises(TransientStoreError):
        store.put("lease", b"1", if_match='"tag"')


def test_a_store_without_conditional_writes_is_refused(serve: Serve, store: Store) -> None:
    server = serve(lambda request: Answer(200, headers={"ETag": '"tag"'}))
    with pytest.raises(InputError, match="If-None-Match"):
        store.check_writable()
    assert [request.method for request in server.requests] == ["HEAD", "PUT", "PUT", "PUT", "PUT", "DELETE"]


# --- uploads ---

PARTS = [Part(1, 10, f'"{"a1" * 16}"', 5), Part(2, 3, f'"{"b2" * 16}"', 6)]
COMPOSITE = hashlib.md5(bytes.fromhex("a1" * 16 + "b2" * 16)).hexdigest() + "-2"


@pytest.mark.parametrize("lost", [error(404, "NoSuchUpload"), Answer(drop=True), error(503, "SlowDown")])
@pytest.mark.parametrize(
    ("size", "etag", "ours"), [(13, COMPOSITE, True), (12, COMPOSITE, False), (13, "b2" * 16 + "-2", False)]
)
def test_a_completion_whose_answer_was_lost(
    serve: Serve,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    lost: Answer,
    size: int,
    etag: str,
    ours: bool,
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    head = Answer(200, headers={"ETag": f'"{etag}"', "Content-Length": str(size), "x-amz-meta-plan": "p"})
    serve(lambda request: head if request.method == "HEAD" else lost)
    if ours:
        info = store.complete(Upload("m", "id", 13), PARTS)
        assert (info.size, dict(info.metadata)) == (13, {"plan": "p"})
    else:
        with pytest.raises(UploadGoneError if lost.status == 404 else TransientStoreError):
            store.complete(Upload("m", "id", 13), PARTS)


@pytest.mark.parametrize(("found", "kind"), [("AAAABQ==", None), ("AAAABg==", UploadGoneError), ("", UploadGoneError)])
def test_tags_that_are_no_md5_leave_the_checksum_to_tell(
    serve: Serve, store: Store, found: str, kind: type[Exception] | None
) -> None:
    headers = {"ETag": '"opaque"', "Content-Length": "10", "x-amz-checksum-crc32": found}
    serve(lambda request: Answer(200, headers=headers) if request.method == "HEAD" else error(404, "NoSuchUpload"))
    parts = [Part(1, 10, '"opaque too"', 5)]
    if kind is None:
        assert store.complete(Upload("m", "id", 10), parts).crc32 == 5
    else:
        with pytest.raises(kind):
            store.complete(Upload("m", "id", 10), parts)


@pytest.mark.parametrize("head", [{"Content-Length": "12"}, {"x-amz-checksum-crc32": "AAAAAA=="}])
def test_a_completed_object_that_is_not_what_was_sent(serve: Serve, store: Store, head: dict[str, str]) -> None:
    done = b"<CompleteMultipartUploadResult><ETag>&quot;tag&quot;</ETag></CompleteMultipartUploadResult>"
    headers = {"ETag": '"tag"', "Content-Length": "13"} | head
    serve(lambda request: Answer(200, headers=headers) if request.method == "HEAD" else Answer(200, done))
    with pytest.raises(UnavailableError, match="s3://bucket/prefix/m"):
        store.complete(Upload("m", "id", 13), PARTS)


def test_a_completion_that_is_answered_for_an_object_of_the_past(serve: Serve, store: Store) -> None:
    done = b"<CompleteMultipartUploadResult><ETag>&quot;tag&quot;</ETag></CompleteMultipartUploadResult>"
    head = Answer(200, headers={"ETag": '"another"', "Content-Length": "13"})
    serve(lambda request: head if request.method == "HEAD" else Answer(200, done))
    with pytest.raises(UploadGoneError):
        store.complete(Upload("m", "id", 13), PARTS)


def test_the_checksum_of_the_whole_is_sent_only_when_it_is_known(serve: Serve, store: Store) -> None:
    done = b"<CompleteMultipartUploadResult><ETag>&quot;tag&quot;</ETag></CompleteMultipartUploadResult>"
    head = Answer(200, headers={"ETag": '"tag"', "Content-Length": "13"})
    server = serve(lambda request: head if request.method == "HEAD" else Answer(200, done))
    store.complete(Upload("m", "id", 13), PARTS)
    store.complete(Upload("m", "id", 13), [PARTS[0], Part(2, 3, PARTS[1].etag, None)])
    sent = [request.headers for request in server.requests if request.method == "POST"]
    assert ["x-amz-checksum-crc32" in headers for headers in sent] == [True, False]


class PartList:
    """ListParts as SeaweedFS answers it: every copy of a part, and a page may end between two copies."""

    def __init__(self, copies: list[tuple[int, str, int]], page: int) -> None:
        self.copies = copies
        self.page = page

    def __call__(self, request: Request) -> Answer:
        after = int(request.query.get("part-number-marker", 0))
        rest = [copy for copy in self.copies if copy[0] > after]
        shown = rest[: self.page]
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag><Size>{size}</Size></Part>"
            for number, etag, size in shown
        )
        last = shown[-1][0] if shown else after
        truncated = "true" if len(rest) > len(shown) else "false"
        body = (
            f"<ListPartsResult><IsTruncated>{truncated}</IsTruncated>"
            f"<NextPartNumberMarker>{last}</NextPartNumberMarker>{parts}</ListPartsResult>"
        )
        return Answer(200, body.encode())


@pytest.mark.parametrize("page", [2, 3, 4, 5, 100])
def test_parts_are_listed_over_pages_and_differing_copies_do_not_count(serve: Serve, store: Store, page: int) -> None:
    copies = [
        (1, "a", 10), (2, "b", 10), (2, "b", 10), (3, "c", 10), (3, "other", 10), (4, "d", 10), (5, "e", 10),
        (5, "e", 11), (6, "f", 10),
    ]  # fmt: skip
    serve(PartList(copies, page))
    listed = store.list_parts(Upload("m", "id", 99))
    assert {number: (part.etag, part.size, part.crc32) for number, part in listed.items()} == {
        1: ("a", 10, None),
        2: ("b", 10, None),
        4: ("d", 10, None),
        6: ("f", 10, None),
    }


def test_a_page_full_of_copies_of_one_part_is_passed(serve: Serve, store: Store) -> None:
    serve(PartList([(1, "a", 10)] * 7 + [(2, "b", 10)], 3))
    assert sorted(store.list_parts(Upload("m", "id", 99))) == [1, 2]


def test_checksums_are_read_where_the_server_lists_them(serve: Serve, store: Store) -> None:
    body = (
        b"<ListPartsResult><Part><PartNumber>1</PartNumber><ETag>a</ETag><Size>4</Size>"
        b"<ChecksumCRC32>AAAABQ==</ChecksumCRC32></Part></ListPartsResult>"
    )
    serve(lambda request: Answer(200, body))
    assert store.list_parts(Upload("m", "id", 4)) == {1: Part(1, 4, "a", 5)}


def test_objects_are_listed_over_pages(serve: Serve, store: Store) -> None:
    keys = ["prefix/", "prefix/a", "prefix/b/", "prefix/b/c", "prefix/d"]

    def answer(request: Request) -> Answer:
        at = int(request.query.get("continuation-token", 0))
        assert request.query["prefix"] == "prefix/"
        body = (
            f"<ListBucketResult><IsTruncated>{'true' if at < 4 else 'false'}</IsTruncated>"
            f"<NextContinuationToken>{at + 1}</NextContinuationToken>"
            f"<Contents><Key>{keys[at]}</Key><Size>{at}</Size><ETag>t{at}</ETag></Contents></ListBucketResult>"
        )
        return Answer(200, body.encode())

    serve(answer)
    assert [(info.name, info.size, info.etag) for info in store.list()] == [
        ("a", 1, "t1"),
        ("b/c", 3, "t3"),
        ("d", 4, "t4"),
    ]


def test_open_uploads_are_listed_over_pages(serve: Serve, store: Store) -> None:
    """A page may end between two uploads of one key; one of unknown age counts as new."""
    uploads = [("a", "u1"), ("b", "u2"), ("b", "u3"), ("c/d", "u4")]

    def answer(request: Request) -> Answer:
        assert request.query["prefix"] == "prefix/"
        after = (request.query.get("key-marker", ""), request.query.get("upload-id-marker", ""))
        key, upload = next(entry for entry in uploads if (f"prefix/{entry[0]}", entry[1]) > after)
        initiated = "<Initiated>2026-01-02T03:04:05.000Z</Initiated>" if upload != "u4" else ""
        body = (
            f"<ListMultipartUploadsResult><IsTruncated>{'false' if upload == 'u4' else 'true'}</IsTruncated>"
            f"<NextKeyMarker>prefix/{key}</NextKeyMarker><NextUploadIdMarker>{upload}</NextUploadIdMarker>"
            f"<Upload><Key>prefix/{key}</Key><UploadId>{upload}</UploadId>{initiated}</Upload>"
            "</ListMultipartUploadsResult>"
        )
        return Answer(200, body.encode())

    serve(answer)
    listed = store.list_uploads()
    assert [(found.upload.name, found.upload.id) for found in listed] == uploads
    assert {found.began for found in listed[:3]} == {1767323045.0}
    assert listed[3].began > 1767323045.0


# --- errors ---


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "NoSuchBucket", InputError),
        (403, "AccessDenied", InputError),
        (403, "InvalidAccessKeyId", InputError),
        (403, "SignatureDoesNotMatch", InputError),
        (400, "ExpiredToken", InputError),
        (403, "RequestTimeTooSkewed", InputError),
        (400, "KeyTooLongError", InputError),
        (400, "BadDigest", TransientStoreError),
        (400, "RequestTimeout", TransientStoreError),
        (500, "InternalError", TransientStoreError),
        (503, "SlowDown", TransientStoreError),
        (503, "ServiceUnavailable", TransientStoreError),
        (502, "", TransientStoreError),
        (429, "TooManyRequests", TransientStoreError),
        (501, "NotImplemented", UnavailableError),
        (507, "XMinioStorageFull", UnavailableError),
        (400, "EntityTooLarge", UnavailableError),
    ],
)
def test_an_error_of_the_server_says_what_it_means_for_us(
    serve: Serve,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    code: str,
    kind: type[GgufactoryError],
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    server = serve(lambda request: error(status, code))
    for call in [
        lambda: store.put("x y", b"1"),
        lambda: store.read("x y", limit=1),
        lambda: store.upload_part(Upload("x y", "id", 1), 1, 0, memoryview(b"1")),
    ]:
        with pytest.raises(kind) as caught:
            call()
        assert type(caught.value) is kind
        assert f"s3://bucket/prefix/x y at {server.endpoint}" in str(caught.value)
        assert SECRET not in str(caught.value)


def test_a_refused_connection_may_pass(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    with pytest.raises(TransientStoreError, match=f"s3://bucket/prefix/x at http://127.0.0.1:{port}"):
        store.stat("x")


def test_no_credentials(serve: Serve, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(lambda request: Answer())
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(InputError, match="credentials"):
        store.stat("x")


@pytest.mark.parametrize(
    ("variable", "value"), [("AWS_ENDPOINT_URL_S3", "no url"), ("AWS_PROFILE", "none"), ("AWS_DEFAULT_REGION", "?")]
)
def test_bad_settings_are_input_errors(
    serve: Serve, store: Store, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    serve(lambda request: Answer())
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError):
        store.stat("x")


def test_a_password_in_the_endpoint_is_not_shown(serve: Serve, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(lambda request: error(403, "AccessDenied"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.endpoint.replace("://", "://user:password@"))
    with pytest.raises(InputError) as caught:
        store.put("x", b"")
    assert "password" not in str(caught.value)


# --- the client ---


def test_one_client_serves_the_process_until_the_environment_changes(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, fork: Callable[[Callable[[], object]], int]
) -> None:
    serve(lambda request: Answer())
    clients = [s3_client()]
    thread = threading.Thread(target=lambda: clients.append(s3_client()))
    thread.start()
    thread.join()
    assert clients[0] is clients[1]

    def in_child() -> None:
        assert s3_client() is not clients[0]

    assert os.waitpid(fork(in_child), 0)[1] == 0
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    assert s3_client() is not clients[0]


def test_attempts_are_eight_unless_the_environment_says_otherwise(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(lambda request: Answer())
    assert s3_client().meta.config.retries == {"mode": "standard", "total_max_attempts": 8}
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    assert s3_client().meta.config.retries == {"mode": "standard", "total_max_attempts": 3}


def test_a_part_body_reads_and_seeks_like_a_file() -> None:
    data = os.urandom(2 * MIB + 3)
    body = PartBody(memoryview(data))
    for _ in range(2):
        pieces = []
        while piece := body.read(8192):
            assert isinstance(piece, memoryview)
            pieces.append(bytes(piece))
        assert b"".join(pieces) == data
        assert body.tell() == len(data)
        assert body.seek(0) == 0
    assert body.seek(0, os.SEEK_END) == len(data)
    assert body.seek(-3, os.SEEK_CUR) == len(data) - 3
    assert bytes(body.read()) == data[-3:]
