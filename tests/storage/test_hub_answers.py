"""How the hub's store deals with answers that are late, broken, refused or wrong."""

from __future__ import annotations

import json
import os
import pickle
import socket
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from ggufactory.errors import (
    GgufactoryError,
    InputError,
    SourceChangedError,
    TransientStoreError,
    UnavailableError,
)
from ggufactory.storage import Store, hub_client, hub_listing, open_store
from hub_server import HubServer, Repository
from scripted_server import Answer, Request

MIB = 1 << 20
WEIGHTS = os.urandom(3 * MIB)
FILES = {"config.json": b'{"a": 1}', "model.safetensors": WEIGHTS}
LARGE, SMALL = "model.safetensors", "config.json"


@pytest.fixture
def repository(hub: HubServer) -> Repository:
    hub.repositories["org/name"] = repository = Repository()
    repository.commit(FILES)
    return repository


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were to be waited for; nobody waits."""
    waited: list[float] = []
    monkeypatch.setattr(hub_client, "time", SimpleNamespace(sleep=waited.append))
    return waited


@pytest.fixture
def store(repository: Repository) -> Store:
    """Its commit is known and its files are listed."""
    store = open_store("hf://org/name")
    store.list()
    return store


def whole(store: Store, name: str) -> bytes:
    found = store.read(name, limit=8 * MIB)
    assert found is not None
    return found[0]


def first(count: int, instead: Callable[[Answer], Answer], path: str = "") -> Callable[[Request, Answer], Answer]:
    """Other answers to the first `count` requests whose path has `path` in it."""
    left = [count]

    def alter(request: Request, answer: Answer) -> Answer:
        if path in request.path and left[0]:
            left[0] -= 1
            return instead(answer)
        return answer

    return alter


def refusal(status: int, **headers: str) -> Callable[[Answer], Answer]:
    return lambda answer: Answer(status, b"busy", {name.replace("_", "-"): value for name, value in headers.items()})


def cut(size: int) -> Callable[[Answer], Answer]:
    """The connection breaks after so many bytes."""
    return lambda answer: Answer(answer.status, answer.body, answer.headers, cut=size)


def shortened(answer: Answer) -> Answer:
    """A body of half the length, and said to be."""
    return Answer(answer.status, answer.body[: len(answer.body) // 2], answer.headers)


def dropped(answer: Answer) -> Answer:
    return Answer(drop=True)


# --- what passes ---


@pytest.mark.parametrize("path", ["/revision/", "/tree/", "/resolve/"])
@pytest.mark.parametrize("fault", [refusal(503), refusal(500), refusal(429), refusal(408), dropped, cut(3)])
def test_a_fault_that_passes(
    hub: HubServer, repository: Repository, path: str, fault: Callable[[Answer], Answer]
) -> None:
    hub.alter = first(3, fault, path)
    assert whole(open_store("hf://org/name"), SMALL) == FILES[SMALL]


@pytest.mark.parametrize("path", ["/revision/", "/tree/", "/resolve/"])
def test_a_fault_that_stays(hub: HubServer, repository: Repository, waits: list[float], path: str) -> None:
    hub.alter = first(1000, refusal(503), path)
    with pytest.raises(TransientStoreError, match=rf"hf://org/name@.* at {hub.endpoint}: answered 503"):
        whole(open_store("hf://org/name"), SMALL)
    assert len(waits) == hub_client.ATTEMPTS - 1
    assert sum(path in request.path for request in hub.hub.requests) == hub_client.ATTEMPTS
    assert max(waits) <= 32


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"Retry_After": "7"}, 7, 8),
        ({"Retry_After": "99999999"}, hub_client.LONGEST_WAIT, hub_client.LONGEST_WAIT + 1),
        ({"Retry_After": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0, 1),
        ({"Retry_After": "-5"}, 0, 1),
        ({"RateLimit": '"resolvers";r=0;t=55'}, 55, 56),
        ({"RateLimit": '"resolvers";r=9;t=55'}, 0, 1),
    ],
)
@pytest.mark.parametrize("path", ["/tree/", "/resolve/"])
def test_as_long_as_the_hub_asks_for(
    hub: HubServer,
    repository: Repository,
    waits: list[float],
    headers: dict[str, str],
    least: float,
    most: float,
    path: str,
) -> None:
    hub.alter = first(1, refusal(429, **headers), path)
    assert whole(open_store("hf://org/name"), SMALL) == FILES[SMALL]
    (waited,) = waits
    assert least <= waited <= most


def test_a_broken_body_is_continued_where_it_broke(hub: HubServer, store: Store) -> None:
    hub.alter = first(1, cut(MIB + 5), "-")
    buffer = bytearray(2 * MIB)
    store.read_into(LARGE, 100, memoryview(buffer))
    assert buffer == WEIGHTS[100 : 100 + 2 * MIB]
    ranges = [request.headers["range"] for request in hub.bytes_host.requests]
    assert ranges == [f"bytes=100-{2 * MIB + 99}", f"bytes={MIB + 105}-{2 * MIB + 99}"]


@pytest.mark.parametrize("name", [LARGE, SMALL])
def test_a_body_that_is_too_short_is_continued(hub: HubServer, store: Store, name: str) -> None:
    hub.alter = lambda request, answer: shortened(answer) if len(answer.body) > 5 else answer
    assert whole(store, name) == FILES[name]


def test_a_body_that_never_comes_is_given_up(hub: HubServer, store: Store) -> None:
    hub.alter = lambda request, answer: cut(0)(answer) if answer.body else answer
    with pytest.raises(TransientStoreError, match=rf"hf://org/name@.*/{LARGE} at "):
        store.read_into(LARGE, 0, memoryview(bytearray(100)))
    assert len(hub.bytes_host.requests) == hub_client.ATTEMPTS


def test_a_file_replaced_while_its_body_is_broken_is_not_patched_together(hub: HubServer, store: Store) -> None:
    """A hub that breaks its word: another file under the same commit."""
    info = store.stat(SMALL)
    assert info is not None

    def alter(request: Request, answer: Answer) -> Answer:
        if "range" not in request.headers or not answer.body:
            return answer
        hub.alter = lambda request, answer: Answer(
            answer.status, answer.body, {**answer.headers, "ETag": f'"{"ab" * 20}"'}
        )
        return cut(3)(answer)

    hub.alter = alter
    with pytest.raises(SourceChangedError):
        store.read_into(SMALL, 0, memoryview(bytearray(8)), etag=info.etag)
    assert hub.answers[-3].cut == 3


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, hub: HubServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://user:password@127.0.0.1:{port}/")
    with pytest.raises(
        TransientStoreError, match=f"hf://org/name@main at http://127.0.0.1:{port}: .*HF_ENDPOINT"
    ) as error:
        _ = open_store("hf://org/name").uri
    assert "password" not in str(error.value)
    assert isinstance(pickle.loads(pickle.dumps(error.value)), TransientStoreError)


# --- locations of the bytes ---


def test_the_hub_is_asked_once_for_many_reads(hub: HubServer, store: Store) -> None:
    hub.hub.requests.clear()
    for offset in (0, 1000, 5):
        buffer = bytearray(1000)
        store.read_into(LARGE, offset, memoryview(buffer))
        assert buffer == WEIGHTS[offset : offset + 1000]
    assert len(hub.hub.requests) == 1
    assert len(hub.bytes_host.requests) == 3


def test_a_location_that_expired_is_asked_for_again(hub: HubServer, store: Store, waits: list[float]) -> None:
    buffer = bytearray(1000)
    store.read_into(LARGE, 0, memoryview(buffer))
    hub.revoke()
    store.read_into(LARGE, 5, memoryview(buffer))
    assert buffer == WEIGHTS[5:1005]
    assert len(waits) == 1


def test_a_location_that_is_never_good(hub: HubServer, store: Store) -> None:
    hub.alter = lambda request, answer: Answer(403, b"<Error/>") if "signature" in request.query else answer
    with pytest.raises(TransientStoreError, match="answered 403") as error:
        store.read_into(LARGE, 0, memoryview(bytearray(10)))
    assert "signature" not in str(error.value)
    assert "secret" not in str(error.value)


# --- what stays refused ---


def test_a_gated_model(hub: HubServer, repository: Repository) -> None:
    repository.gated = True
    store = open_store("hf://org/name")
    assert store.stat(SMALL) is not None
    for name in (SMALL, LARGE):
        with pytest.raises(
            InputError, match=rf"{name} at .*403 GatedRepo: Access .* Accept the model's terms.*HF_TOKEN"
        ):
            store.read_into(name, 0, memoryview(bytearray(1)))


@pytest.mark.parametrize("token", ["", "hf_of_another_user"])
def test_a_private_model(hub: HubServer, repository: Repository, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    repository.token = "another"
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(InputError, match=r"hf://org/name@main at .*no such repository, or it is private.*HF_TOKEN"):
        open_store("hf://org/name").list()
    assert len(hub.hub.requests) == 1


def test_a_token_that_the_hub_refuses(hub: HubServer, repository: Repository) -> None:
    said = "Invalid credentials in Authorization header"
    hub.alter = lambda request, answer: Answer(401, headers={"X-Error-Message": said})
    with pytest.raises(InputError, match=rf"401: {said}.*HF_TOKEN"):
        open_store("hf://org/name").list()


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("hf://org/nothing", r"hf://org/nothing@main at .*: there is no such repository"),
        ("hf://org/name@v9", r"hf://org/name@v9 at .*: there is no such branch, tag or commit"),
        (f"hf://org/name@{'ab' * 20}", r"hf://org/name@abab.* at .*: there is no such branch, tag or commit"),
    ],
)
def test_what_is_missing_is_named(repository: Repository, uri: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        open_store(uri).list()


def test_a_file_that_is_missing(store: Store) -> None:
    with pytest.raises(InputError, match=r"/gone\.json at .*: there is no such file") as error:
        store.read_into("gone.json", 0, memoryview(bytearray(1)))
    assert not isinstance(error.value, SourceChangedError)
    with pytest.raises(SourceChangedError, match=r"gone\.json"):
        store.read_into("gone.json", 0, memoryview(bytearray(1)), etag="ab" * 20)


def test_a_repository_without_files(hub: HubServer, repository: Repository) -> None:
    hub.alter = lambda request, answer: Answer(200, b"[]") if "/tree/" in request.path else answer
    with pytest.raises(InputError, match=r"hf://org/name@.*: the repository has no files"):
        open_store("hf://org/name").list()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InputError),
        (403, InputError),
        (404, InputError),
        (451, InputError),
        (501, UnavailableError),
        (418, UnavailableError),
    ],
)
def test_the_kind_of_an_error(hub: HubServer, repository: Repository, status: int, kind: type[GgufactoryError]) -> None:
    hub.alter = lambda request, answer: Answer(status, b"x" * 100, {"X-Error-Message": "why\tnot " + "y" * 5000})
    with pytest.raises(kind) as error:
        open_store("hf://org/name").list()
    assert type(error.value) is not InputError or kind is InputError
    assert not isinstance(error.value, TransientStoreError)
    assert len(str(error.value)) < 600
    assert len(hub.hub.requests) == 1


# --- answers that are wrong ---


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"[]", b"{}", b'{"sha": 1}', b'{"sha": "main"}', b'{"sha": "' + b"A" * 40 + b'"}',
        b"[" * 100_000, b"\xff" * 10, b"9" * 10_000,
    ],
)  # fmt: skip
def test_an_answer_that_names_no_commit(hub: HubServer, repository: Repository, body: bytes) -> None:
    hub.alter = lambda request, answer: Answer(200, body)
    with pytest.raises(UnavailableError, match=r"hf://org/name@main at .*HF_ENDPOINT"):
        _ = open_store("hf://org/name").uri


def listed(path: object = "a", size: object = 1, oid: object = "a" * 40, **more: object) -> bytes:
    return json.dumps([{"type": "file", "path": path, "size": size, "oid": oid, **more}]).encode()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{}", UnavailableError),
        (b"[1]", UnavailableError),
        (b'[{"type": "file"}]', UnavailableError),
        (listed(path=1), UnavailableError),
        (listed(size=-1), UnavailableError),
        (listed(size=True), UnavailableError),
        (listed(size="1"), UnavailableError),
        (listed(size=1 << 63), UnavailableError),
        (listed(size=None), UnavailableError),
        (listed(oid=None), UnavailableError),
        (listed(oid='"quoted"'), UnavailableError),
        (listed(lfs={}), UnavailableError),
        (listed(lfs={"size": 1, "oid": "z" * 64}), UnavailableError),
        (listed(path="../../etc/passwd"), InputError),
        (listed(path="/etc/passwd"), InputError),
        (listed(path="a//b"), InputError),
        (listed(path="a\nb"), InputError),
        (listed(path="a/" * 1000 + "b"), InputError),
    ],
)
def test_a_listing_that_is_wrong(
    hub: HubServer, repository: Repository, body: bytes, kind: type[GgufactoryError]
) -> None:
    hub.alter = lambda request, answer: Answer(200, body) if "/tree/" in request.path else answer
    with pytest.raises(kind, match="hf://org/name"):
        open_store("hf://org/name").list()


def test_a_listing_of_another_folder(hub: HubServer, repository: Repository) -> None:
    """What lies outside the folder is not taken for a file of it."""
    body = json.dumps([json.loads(listed(path=path))[0] for path in ("sub/a", "b", "sub2/c")]).encode()
    hub.alter = lambda request, answer: Answer(200, body) if "/tree/" in request.path else answer
    assert [info.name for info in open_store("hf://org/name@main/sub").list()] == ["a"]


def test_an_answer_without_an_end(hub: HubServer, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_client, "MAX_JSON_BYTES", 100_000)
    hub.alter = lambda request, answer: Answer(200, b" " * MIB)
    with pytest.raises(UnavailableError, match="more than 100,000 bytes"):
        open_store("hf://org/name").list()


def test_a_listing_without_an_end(hub: HubServer, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_listing, "MAX_PAGES", 20)

    def alter(request: Request, answer: Answer) -> Answer:
        link = f'<{hub.endpoint}/x?cursor={len(hub.hub.requests)}>; rel="next"'
        return Answer(200, b"[]", {"Link": link}) if "/tree/" in request.path else answer

    hub.alter = alter
    with pytest.raises(UnavailableError, match="more than"):
        open_store("hf://org/name").list()
    assert len(hub.hub.requests) < 30


def test_a_listing_in_a_circle_ends(hub: HubServer, repository: Repository) -> None:
    def alter(request: Request, answer: Answer) -> Answer:
        return Answer(answer.status, answer.body, {"Link": f'<{hub.endpoint}/x?cursor=0>; rel="next"'})

    hub.alter = alter
    assert len(open_store("hf://org/name").list()) == 2
    assert len(hub.hub.requests) == 3


def test_a_server_that_ignores_ranges(hub: HubServer, store: Store) -> None:
    """The whole file instead: enough for who reads from its beginning."""
    hub.alter = lambda request, answer: Answer(200, WEIGHTS) if "signature" in request.query else answer
    buffer = bytearray(MIB)
    store.read_into(LARGE, 0, memoryview(buffer))
    assert buffer == WEIGHTS[:MIB]
    with pytest.raises(InputError, match="ends before"):
        store.read_into(LARGE, 0, memoryview(bytearray(3 * MIB + 1)))
    with pytest.raises(UnavailableError, match="range"):
        store.read_into(LARGE, 10, memoryview(buffer))


@pytest.mark.parametrize(
    "said",
    ["", "bytes 0-999/3145728", "bytes 11-1009/3145728", "bytes 10-9/3145728", "bytes */3145728", "lines 10-1009/1"],
)
def test_another_range_than_was_asked_for(hub: HubServer, store: Store, said: str) -> None:
    def alter(request: Request, answer: Answer) -> Answer:
        if "signature" in request.query:
            return Answer(206, WEIGHTS[:1000], {"Content-Range": said})
        return answer

    hub.alter = alter
    with pytest.raises(UnavailableError, match="range"):
        store.read_into(LARGE, 10, memoryview(bytearray(1000)))


def test_bytes_that_are_encoded(hub: HubServer, store: Store) -> None:
    def alter(request: Request, answer: Answer) -> Answer:
        assert request.headers["accept-encoding"] == "identity"
        return Answer(answer.status, answer.body, {**answer.headers, "Content-Encoding": "gzip"})

    hub.alter = alter
    with pytest.raises(UnavailableError, match="encoded"):
        store.read_into(SMALL, 0, memoryview(bytearray(2)))


@pytest.mark.parametrize("to", ["", "ftp://host/x", "http://", "http://[bad/x", "file:///etc/passwd"])
def test_a_redirect_to_nowhere(hub: HubServer, store: Store, to: str) -> None:
    hub.alter = lambda request, answer: Answer(302, headers={"Location": to})
    with pytest.raises(UnavailableError):
        store.read_into(LARGE, 0, memoryview(bytearray(2)))
