"""Where the token of the hub comes from and goes to, and what else the environment says."""

from __future__ import annotations

import logging
import os
import pickle
from pathlib import Path

import pytest
from huggingface_hub import constants

from ggufactory.errors import InputError
from ggufactory.storage import hub_client, open_store
from hub_server import HubServer, Repository
from scripted_server import Answer, Request

TOKEN = "hf_aVerySecretToken"
FILES = {"config.json": b'{"a": 1}', "model.safetensors": os.urandom(100_000)}


@pytest.fixture
def repository(hub: HubServer) -> Repository:
    hub.repositories["org/name"] = repository = Repository()
    repository.commit(FILES)
    return repository


def authorizations(requests: list[Request]) -> set[str | None]:
    return {request.headers.get("authorization") for request in requests}


@pytest.mark.parametrize("variable", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "file"])
def test_the_token_goes_to_the_hub_alone(
    hub: HubServer,
    repository: Repository,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variable: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    repository.token = TOKEN
    hub.page = 1
    if variable == "file":
        (tmp_path / "token").write_text(f"{TOKEN}\n")
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    else:
        monkeypatch.setenv(variable, TOKEN)
    with caplog.at_level(logging.DEBUG):
        store = open_store("hf://org/name")
        for name, data in FILES.items():
            found = store.read(name, limit=1 << 20)
            assert found is not None
            assert found[0] == data
        store.read_into("model.safetensors", 0, memoryview(bytearray(10)))  # from the location that is known by now
    assert authorizations(hub.hub.requests) == {f"Bearer {TOKEN}"}
    assert authorizations(hub.bytes_host.requests) == {None}
    assert TOKEN not in caplog.text
    assert TOKEN.encode() not in pickle.dumps(store)
    assert TOKEN not in store.uri


def test_a_page_elsewhere_does_not_get_the_token(
    hub: HubServer, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link is followed by its query, on the hub itself."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.page = 1

    def alter(request: Request, answer: Answer) -> Answer:
        headers = {k: v.replace(hub.endpoint, hub.bytes_host.endpoint) for k, v in answer.headers.items()}
        return Answer(answer.status, answer.body, headers)

    hub.alter = alter
    assert len(open_store("hf://org/name").list()) == 2
    assert hub.bytes_host.requests == []


@pytest.mark.parametrize("token", ["hf_né", "hf_a b", "hf_\x01", "hf_a\tb"])
def test_a_token_that_cannot_be_one_is_not_shown(
    hub: HubServer, repository: Repository, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(InputError, match="HF_TOKEN") as error:
        _ = open_store("hf://org/name").uri
    assert token not in str(error.value)
    assert hub.hub.requests == []


def test_a_token_file_that_cannot_be_read(hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"token cannot be read.*HF_TOKEN_PATH"):
        _ = open_store("hf://org/name").uri


# --- the environment ---


def test_offline_is_respected(hub: HubServer, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"hf://org/name@main at .*HF_HUB_OFFLINE"):
        _ = open_store("hf://org/name").uri
    assert hub.hub.requests == []


@pytest.mark.parametrize(
    "endpoint", ["huggingface.co", "ftp://host", "http://", "http://[bad", "https://host/?token=x"]
)
def test_an_endpoint_that_is_none(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(InputError, match="HF_ENDPOINT"):
        _ = open_store("hf://org/name").uri


def test_the_public_hub_is_meant_without_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "")
    assert hub_client.endpoint() == "https://huggingface.co"
