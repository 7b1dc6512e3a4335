"""`ggufactory publish`: from a store to a repository of the hub, without a copy, at once, and again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from ggufactory.cli import main
from hub_server import HubServer
from hub_writes import UPLOAD_SIGNATURE
from made_targets import MadeTarget, made_target
from scripted_server import Answer, Request

TOKEN = "hf_aVerySecretTokenThatWrites"


@pytest.fixture
def target(tmp_path: Path) -> MadeTarget:
    return made_target(tmp_path / "out", {"Q8_0": 3_300_000, "Q4_K_M": 1_500_000, "IQ2_XS": 700_000})


@pytest.fixture
def publisher(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.write_token = TOKEN
    return hub


def publish(target: MadeTarget, *flags: str) -> int:
    return main(["publish", target.uri, "--hub", "org/name-GGUF", *flags])


def published(hub: HubServer) -> dict[str, bytes]:
    repository = hub.repositories["org/name-GGUF"]
    return repository.commits[repository.refs["main"]]


def puts(hub: HubServer) -> list[Request]:
    return [request for request in hub.bytes_host.requests if request.method == "PUT"]


def test_without_yes_nothing_is_written(
    publisher: HubServer, target: MadeTarget, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(target) == 0
    said = capsys.readouterr().out
    assert "name-Q4_K_M.gguf" in said
    assert "org/name-GGUF, to be made: 6 of 6 files" in said
    assert "--yes" in said
    assert {request.method for request in publisher.hub.requests} == {"GET"}
    assert puts(publisher) == []


def test_everything_appears_in_one_commit(
    publisher: HubServer, target: MadeTarget, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(target, "--yes", "--private") == 0
    said = "".join(capsys.readouterr())
    (created,) = publisher.writes.created
    assert (created["organization"], created["name"], created["visibility"]) == ("org", "name-GGUF", "private")
    files = published(publisher)
    assert {name: files[name] for name in target.files} == target.files
    assert files["manifest.json"] == (target.folder / "manifest.json").read_bytes()
    assert files["SHA256SUMS"] == (target.folder / "SHA256SUMS").read_bytes()
    assert b"hf download org/name-GGUF --include" in files["README.md"]
    assert b"llama-server -hf org/name-GGUF:Q4_K_M" in files["README.md"]
    assert len(publisher.writes.commits) == 1
    assert len(puts(publisher)) == 4 + 2 + 1, "in parts of a mebibyte, and what is smaller whole"
    assert TOKEN not in said
    assert UPLOAD_SIGNATURE not in said
    assert {request.headers.get("authorization") for request in publisher.bytes_host.requests} == {None}
    assert f"hf://org/name-GGUF@{publisher.repositories['org/name-GGUF'].refs['main']}" in said


def test_again_is_nothing_to_do_and_a_new_rung_is_sent_alone(
    publisher: HubServer, target: MadeTarget, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(target, "--yes") == 0
    sent = len(puts(publisher))
    assert publish(target, "--yes") == 0
    assert "Nothing to do" in capsys.readouterr().out
    assert len(publisher.writes.commits) == 1
    target = made_target(target.folder, {"Q6_K": 500_000}, keep=True)
    assert publish(target, "--yes") == 0
    assert len(puts(publisher)) == sent + 1
    paths = [line["value"].get("path") for line in publisher.writes.commits[1] if line["key"] != "header"]
    assert sorted(paths) == ["README.md", "SHA256SUMS", "manifest.json", "name-Q6_K.gguf"]


def test_after_an_interruption_what_was_sent_is_not_sent_again(
    publisher: HubServer, target: MadeTarget, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second file's upload is refused for good in its middle; the first one's bytes are at the hub."""
    refused = hashlib.sha256(target.files["name-Q8_0.gguf"]).hexdigest()

    def alter(request: Request, answer: Answer) -> Answer:
        return Answer(403, b"<Error/>") if request.path == f"/upload/{refused}/3" else answer

    publisher.alter = alter
    assert publish(target, "--yes", "--connections", "1") == 4
    error = capsys.readouterr().err
    assert "name-Q8_0.gguf" in error
    assert UPLOAD_SIGNATURE not in error
    assert "Traceback" not in error
    assert publisher.writes.commits == []
    assert sorted(publisher.writes.sent) == sorted(
        hashlib.sha256(data).hexdigest() for name, data in target.files.items() if "Q8_0" not in name
    )
    publisher.alter = lambda request, answer: answer
    before = len(puts(publisher))
    assert publish(target, "--yes") == 0
    assert len(puts(publisher)) == before + 4, "only the parts of the file that was not whole"
    assert {name: published(publisher)[name] for name in target.files} == target.files


def test_a_part_that_fails_for_a_moment_is_sent_again(
    publisher: HubServer, target: MadeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    failed: list[str] = []

    def alter(request: Request, answer: Answer) -> Answer:
        if request.method == "PUT" and request.path not in failed:
            failed.append(request.path)
            return Answer(503)
        return answer

    publisher.alter = alter
    assert publish(target, "--yes") == 0
    assert len(failed) == 7
    assert {name: published(publisher)[name] for name in target.files} == target.files


def test_bytes_that_are_not_those_of_the_manifest_are_never_committed(
    publisher: HubServer, target: MadeTarget, capsys: pytest.CaptureFixture[str]
) -> None:
    path = target.folder / "name-Q8_0.gguf"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert publish(target, "--yes") == 2
    assert "wanted SHA-256" in capsys.readouterr().err
    assert publisher.writes.commits == []


def test_who_may_not_write_is_told_so(
    hub: HubServer, target: MadeTarget, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_anotherOne")
    hub.write_token = TOKEN
    assert publish(target, "--yes") == 2
    error = capsys.readouterr().err
    assert "403" in error
    assert "HF_TOKEN" in error
    assert "hf_anotherOne" not in error
    monkeypatch.setenv("HF_TOKEN", "hf_a b")
    assert publish(target) == 2
    assert "no token has" in capsys.readouterr().err


def test_front_matter_that_the_hub_refuses(
    publisher: HubServer, target: MadeTarget, capsys: pytest.CaptureFixture[str]
) -> None:
    publisher.writes.complaint = '"license" must be one of [apache-2.0, mit]'
    assert publish(target, "--yes") == 2
    assert '"license" must be one of' in capsys.readouterr().err
    sent = len(puts(publisher))
    publisher.writes.complaint = None
    assert publish(target, "--yes") == 0
    assert len(puts(publisher)) == sent


@pytest.mark.parametrize("name", ["name", "org/name@main", "org/name/folder", "datasets/org/name", "../x/y", ""])
def test_a_name_that_is_no_repository(
    hub: HubServer, target: MadeTarget, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["publish", target.uri, "--hub", name]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert hub.hub.requests == []


def test_a_published_repository_is_a_target_to_verify_and_to_fetch_from(
    publisher: HubServer, target: MadeTarget, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(target, "--yes") == 0
    capsys.readouterr()
    assert main(["verify", "hf://org/name-GGUF"]) == 0
    assert capsys.readouterr().out.count(" ok") == 3 + 2
    assert main(["fetch", "hf://org/name-GGUF", "q4_k_m", "--to", str(tmp_path / "got")]) == 0
    assert (tmp_path / "got" / "name-Q4_K_M.gguf").read_bytes() == target.files["name-Q4_K_M.gguf"]


def test_a_card_of_the_publisher_s_own_is_published_as_it_is(publisher: HubServer, target: MadeTarget) -> None:
    (target.folder / "README.md").write_text("# Mine\n")
    assert publish(target, "--yes") == 0
    assert published(publisher)["README.md"] == b"# Mine\n"
    assert json.loads(published(publisher)["manifest.json"])["format"] == 2
