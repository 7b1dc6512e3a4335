"""A repository of the hub as a store: what it is called, what it holds, and that nothing moves under a job."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from ggufactory.errors import InputError, SourceChangedError
from ggufactory.storage import Store, Upload, folder_name, open_file, open_store
from hub_server import HubServer, Repository, git_oid
from scripted_server import Answer, Request

WEIGHTS = os.urandom(300_000)
FILES = {
    "config.json": b'{"a": 1}',
    "empty.txt": b"",
    "model.safetensors": WEIGHTS,
    "sub folder/é#?.json": b"[]",
    "sub folder/deep/model.gguf": b"GGUF",
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def repository(hub: HubServer) -> Repository:
    hub.repositories["org/name"] = repository = Repository()
    repository.commit(FILES)
    return repository


# --- names ---


@pytest.mark.parametrize(
    ("uri", "revision", "folder"),
    [
        ("hf://org/name", "main", ""),
        ("hf://org/name/", "main", ""),
        ("hf://models/org/name@v1.0", "v1.0", ""),
        ("hf://org/name@feature%2Fx", "feature/x", ""),
        ("hf://org/name@refs/pr/12", "refs/pr/12", ""),
        ("hf://org/name@refs%2Fpr%2F12/sub folder", "refs/pr/12", "sub folder"),
        ("hf://org/name/sub@folder/deep", "main", "sub@folder/deep"),
        (f"hf://org/name@{COMMIT}/sub", COMMIT, "sub"),
    ],
)
def test_a_uri_names_a_revision_and_a_folder(uri: str, revision: str, folder: str) -> None:
    from ggufactory.storage.hub_uri import HubFolder, parse_hub_uri

    place = parse_hub_uri(uri)
    assert place == HubFolder("org/name", revision, folder)
    assert parse_hub_uri(place.uri) == place


@pytest.mark.parametrize(
    "uri",
    [
        "hf://", "hf://org", "hf://org/", "hf:///name", "hf://org/name@", "hf://org/na me", "hf://org/..",
        "hf://org/name@main/../x", "hf://org/name/a//b", "hf://datasets/org/name", "hf://buckets/org/name",
        "hf://org/name@ma%0Ain", "hf://org/name@%20", f"hf://org/name@{'x' * 300}", f"hf://org/{'n' * 200}",
        "hf://org/name@main/a\0b", "hf:/org/name",
    ],
)  # fmt: skip
def test_a_uri_that_names_no_model_is_refused(uri: str) -> None:
    with pytest.raises(InputError) as refusal:
        open_store(uri)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        (f"hf://org/Llama-3.1-8B@{COMMIT}", "Llama-3.1-8B"),
        (f"hf://org/Llama-3.1-8B@{COMMIT}/BF16", "BF16"),
        (f"/models/Llama@{COMMIT}", f"Llama@{COMMIT}"),
        ("s3://bucket/a/Llama@main/", "Llama@main"),
    ],
)
def test_a_folder_is_called_by_its_name_without_the_commit(uri: str, name: str) -> None:
    assert folder_name(open_store(uri)) == name


def test_opening_asks_nothing(hub: HubServer) -> None:
    open_store("hf://org/name@main")
    open_file("hf://org/name@main/m.gguf")
    assert hub.hub.requests == []


# --- what it holds ---


@pytest.mark.parametrize("page", [1, 2, 3, 1000])
def test_the_files_are_listed_over_pages(hub: HubServer, repository: Repository, page: int) -> None:
    hub.page = page
    store = open_store("hf://org/name")
    assert [info.name for info in store.list()] == sorted(FILES)
    assert {info.name: info.size for info in store.list()} == {name: len(data) for name, data in FILES.items()}
    tags = {info.name: info.etag for info in store.list()}
    assert tags["model.safetensors"] == hashlib.sha256(WEIGHTS).hexdigest()
    assert tags["config.json"] == git_oid(FILES["config.json"])
    assert [info.name for info in store.list("sub")] == sorted(FILES)[-2:]
    assert store.stat("config.json") == store.list("config")[0]
    assert store.stat("nothing") is None


def test_a_folder_of_a_repository(hub: HubServer, repository: Repository) -> None:
    store = open_store("hf://org/name/sub folder")
    assert [info.name for info in store.list()] == ["deep/model.gguf", "é#?.json"]
    assert store.uri == f"hf://org/name@{repository.refs['main']}/sub folder"
    assert store.read("é#?.json", limit=10) == (b"[]", store.stat("é#?.json"))
    store, name = open_file("hf://org/name@main/sub folder/deep/model.gguf")
    found = store.read(name, limit=10)
    assert found is not None
    assert found[0] == b"GGUF"
    assert open_store("hf://org/name/elsewhere").list() == []


def test_any_range_is_read(repository: Repository) -> None:
    store = open_store("hf://org/name")
    info = store.stat("model.safetensors")
    assert info is not None
    for offset, size in [(0, len(WEIGHTS)), (0, 1), (len(WEIGHTS) - 1, 1), (12345, 100_000)]:
        buffer = bytearray(size)
        store.read_into("model.safetensors", offset, memoryview(buffer), etag=info.etag)
        assert buffer == WEIGHTS[offset : offset + size]
    window = bytearray(24)
    store.read_into("model.safetensors", 4, memoryview(window)[8:16].cast("I"))
    assert window == bytes(8) + WEIGHTS[4:12] + bytes(8)
    store.read_into("model.safetensors", 5, memoryview(bytearray()), etag=info.etag)
    assert store.read("empty.txt", limit=0) == (b"", store.stat("empty.txt"))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("back", [0, 1])
def test_a_range_past_the_end_is_an_input_error(repository: Repository, name: str, back: int) -> None:
    offset = len(FILES[name]) - back
    with pytest.raises(InputError, match=f"{name}.*{offset} to {offset + 2}.*ends"):
        open_store("hf://org/name").read_into(name, offset, memoryview(bytearray(2)))


def test_a_file_over_the_limit_is_refused(repository: Repository) -> None:
    with pytest.raises(InputError, match=r"config\.json: 8 bytes, of which 7"):
        open_store("hf://org/name").read("config.json", limit=7)


@pytest.mark.parametrize("name", ["", "../x", "/x", "a//b", "a/../b", "a\nb"])
def test_a_name_outside_is_refused(repository: Repository, name: str) -> None:
    store = open_store("hf://org/name")
    with pytest.raises(InputError, match="name of an object"):
        store.stat(name)
    with pytest.raises(InputError, match="name of an object"):
        store.read_into(name, 0, memoryview(bytearray(1)))


# --- nothing moves ---


def test_a_branch_that_moves_is_read_as_it_was(hub: HubServer, repository: Repository) -> None:
    store = open_store("hf://org/name")
    before = repository.refs["main"]
    assert store.uri == f"hf://org/name@{before}"
    changed = {"config.json": b'{"b": 2}', "model.safetensors": WEIGHTS[::-1]}
    after = repository.commit(changed)
    assert after != before
    for mine in (store, open_store(store.uri), pickle.loads(pickle.dumps(store))):
        buffer = bytearray(100)
        mine.read_into("model.safetensors", 0, memoryview(buffer), etag=hashlib.sha256(WEIGHTS).hexdigest())
        assert buffer == WEIGHTS[:100]
        assert mine.read("config.json", limit=100) == (FILES["config.json"], mine.stat("config.json"))
        assert mine.uri == store.uri
    assert open_store("hf://org/name").uri == f"hf://org/name@{after}"


def test_a_worker_reads_without_listing_or_pinning_again(hub: HubServer, repository: Repository) -> None:
    uri = open_store("hf://org/name").uri
    hub.hub.requests.clear()
    open_store(uri).read_into("model.safetensors", 0, memoryview(bytearray(10)))
    assert [request.path for request in hub.hub.requests] == [
        f"/org/name/resolve/{repository.refs['main']}/model.safetensors"
    ]


@pytest.mark.parametrize("revision", ["feature/x", "v1.0", "a b", "50%"])
def test_a_branch_or_tag_of_any_name(hub: HubServer, repository: Repository, revision: str) -> None:
    from ggufactory.storage.hub_uri import HubFolder

    commit = repository.commit({"only.txt": b"here"}, ref=revision)
    assert open_store(HubFolder("org/name", revision, "").uri).uri == f"hf://org/name@{commit}"


def test_threads_that_ask_at_once_agree_on_the_commit(hub: HubServer, repository: Repository) -> None:
    """The branch moves with every question."""

    def alter(request: Request, answer: Answer) -> Answer:
        repository.commit({**FILES, "more": os.urandom(4)})
        return answer

    hub.alter = alter
    store = open_store("hf://org/name")
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: store.uri, range(8)))) == 1


def test_a_file_that_is_not_what_was_listed(repository: Repository) -> None:
    store = open_store("hf://org/name")
    for name in ("model.safetensors", "config.json"):
        with pytest.raises(SourceChangedError, match=f"{name}.*changed"):
            store.read_into(name, 0, memoryview(bytearray(2)), etag="ab" * 20)
        with pytest.raises(SourceChangedError, match="changed"):  # also from the location that is known by now
            store.read_into(name, 0, memoryview(bytearray(2)), etag="ab" * 20)


# --- a source only ---


@pytest.mark.parametrize(
    "write",
    [
        lambda store: store.put("x", b""),
        lambda store: store.delete("x"),
        lambda store: store.check_writable(),
        lambda store: store.limits,
        lambda store: store.create_upload("x", 1, {}),
        lambda store: store.upload_part(Upload("x", "id", 1), 1, 0, memoryview(b"1")),
        lambda store: store.list_parts(Upload("x", "id", 1)),
        lambda store: store.complete(Upload("x", "id", 1), []),
        lambda store: store.abort(Upload("x", "id", 1)),
    ],
)
def test_nothing_is_written(hub: HubServer, write: Callable[[Store], object]) -> None:
    with pytest.raises(InputError, match=r"hf://org/name@main: the hub is a source only.*s3://"):
        write(open_store("hf://org/name"))
    assert hub.hub.requests == []


def test_other_stores_need_no_hub_library(tmp_path: object) -> None:
    code = (
        "import sys, ggufactory.plan.plan, ggufactory.storage as storage\n"
        f"storage.open_store({str(tmp_path)!r}).list()\n"
        "print([name for name in ('huggingface_hub', 'httpx2') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
