"""A model read from the hub: the same plan and the same artifacts as from a folder, and no copy of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from gguf_files import converted, write_split
from ggufactory.calibrate.imatrix import read_importance_matrix
from ggufactory.checkpoint import open_checkpoint
from ggufactory.checkpoint.open import FIRST_READ_BYTES
from ggufactory.cli import main
from ggufactory.errors import InputError
from hub_server import HubServer, Repository, folder_files
from job_process import JobProcess
from scripted_server import Answer, Request

TOKEN = "hf_aVerySecretToken"
GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "whole_files.json").read_text())["files"]


@pytest.fixture
def repository(hub: HubServer, tinylm: str, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """The bundled model, private, as `org/tinylm`."""
    hub.repositories["org/tinylm"] = repository = Repository(token=TOKEN)
    repository.commit({**folder_files(tinylm), "original/consolidated.00.pth": b"x"})
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return repository


def bytes_sent(hub: HubServer) -> int:
    return sum(len(answer.body) for answer in hub.answers)


@pytest.mark.parametrize("uri", ["hf://org/tinylm", "hf://org/tinylm@main/", "hf://models/org/tinylm"])
def test_a_checkpoint_is_the_same_as_in_a_folder(repository: Repository, tinylm: str, uri: str) -> None:
    remote, local = open_checkpoint(uri), open_checkpoint(tinylm)
    assert list(remote.tensors.items()) == list(local.tensors.items())
    assert {name: info.size for name, info in remote.files.items()} == {
        name: info.size for name, info in local.files.items()
    }
    assert remote.name == "tinylm"
    assert remote.store.uri == f"hf://org/tinylm@{repository.refs['main']}"
    assert remote.read_json("config.json") == local.read_json("config.json")


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("hf://org/tinylm/original", "no safetensors|safetensors"),
        ("hf://org/tinylm/nothing", "empty, or there is no such folder"),
        ("hf://org/tinylm/config.json", "is a file"),
        ("hf://org/nothing", "no such repository"),
        ("hf://org/tinylm/model.gguf", "there is no file model.gguf"),
    ],
)
@pytest.mark.usefixtures("repository")
def test_what_is_no_model(capsys: pytest.CaptureFixture[str], uri: str, says: str) -> None:
    assert main(["inspect", uri]) == 2
    error = capsys.readouterr().err
    assert any(part in error for part in says.split("|"))
    assert TOKEN not in error


def test_a_plan_reads_headers_alone(
    capsys: pytest.CaptureFixture[str], hub: HubServer, repository: Repository, tinylm: str
) -> None:
    assert main(["plan", tinylm, "--ladder", "Q8_0,Q4_K_M", "--json"]) == 0
    local = json.loads(capsys.readouterr().out)
    assert main(["plan", "hf://org/tinylm", "--ladder", "Q8_0,Q4_K_M", "--json"]) == 0
    remote = json.loads(capsys.readouterr().out)
    assert remote["rungs"] == local["rungs"]
    files = repository.commits[repository.refs["main"]]
    small = sum(len(data) for name, data in files.items() if not name.endswith((".safetensors", ".txt")))
    listing = 10_000
    assert bytes_sent(hub) <= 2 * FIRST_READ_BYTES + 2 * small + listing
    assert main(["plan", f"hf://org/tinylm@{repository.refs['main']}", "--ladder", "Q8_0,Q4_K_M", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fingerprint"] == remote["fingerprint"]


@pytest.mark.usefixtures("repository")
def test_inspect(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "hf://org/tinylm"]) == 0
    said = capsys.readouterr().out
    for fact in ("tinylm", "hf://org/tinylm@", "LlamaForCausalLM", "4,065,536", "39 in 2 files", "BF16"):
        assert fact in said


def test_a_gguf_file_split_over_several(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, repository: Repository, tinylm: str
) -> None:
    contents = converted(tinylm)
    folder = tmp_path / "gguf"
    folder.mkdir()
    first = write_split(folder, "m", contents, [0, 20, len(contents.tensors) - 20])
    repository.commit({f"BF16/{name}": data for name, data in folder_files(str(folder)).items()}, ref="gguf")
    assert main(["inspect", f"hf://org/tinylm@gguf/BF16/{first.name}"]) == 0
    assert "39 in 3 files" in capsys.readouterr().out
    assert main(["plan", f"hf://org/tinylm@gguf/BF16/{first.name}", "--ladder", "Q8_0", "--json"]) == 0
    (file,) = json.loads(capsys.readouterr().out)["rungs"][0]["files"]
    assert (file["name"], file["bytes"]) == ("m-Q8_0.gguf", 4372800)


def test_an_importance_matrix(repository: Repository, tinylm_imatrix: str) -> None:
    repository.commit({"imatrix.gguf": Path(tinylm_imatrix).read_bytes()}, ref="calibrated")
    remote = read_importance_matrix("hf://org/tinylm@calibrated/imatrix.gguf")
    assert remote.sha256 == read_importance_matrix(tinylm_imatrix).sha256
    with pytest.raises(InputError, match=r"no importance matrix file hf://org/tinylm@main/nothing\.gguf"):
        read_importance_matrix("hf://org/tinylm@main/nothing.gguf")


@pytest.mark.usefixtures("repository")
def test_the_hub_is_no_target(capsys: pytest.CaptureFixture[str], tinylm: str) -> None:
    assert main(["quantize", tinylm, "--to", "hf://org/tinylm", "--ladder", "Q8_0"]) == 2
    assert "the hub is a source only" in capsys.readouterr().err


@pytest.mark.cluster
def test_the_artifacts_are_the_same(
    hub: HubServer, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tinylm: str
) -> None:
    """With the branch moving away under the job, and no copy of the weights on disk."""
    home = tmp_path / "home"
    monkeypatch.setenv("HF_HOME", str(home))
    commit = repository.refs["main"]

    def move(request: Request, answer: Answer) -> Answer:
        if "/tree/" in request.path:
            repository.commit({"config.json": b"{}"})
        return answer

    hub.alter = move
    target = tmp_path / "out"
    arguments = ["quantize", "hf://org/tinylm", "--to", str(target), "--ladder", "Q8_0,Q4_K_M", "--workers", "2"]
    job = JobProcess.start(tmp_path / "log", *arguments, "--span-size", "400K")
    assert job.wait() == 0, job.text()
    for rung in ("Q8_0", "Q4_K_M"):
        data = (target / f"tinylm-{rung}.gguf").read_bytes()
        assert hashlib.sha256(data).hexdigest() == GOLDEN["plain"][rung]["sha256"]
    assert f"hf://org/tinylm@{commit}" in (target / "manifest.json").read_text()
    assert not home.exists()
    told = job.text() + "".join(p.read_text() for p in target.rglob("*.json"))
    assert TOKEN not in told
    assert "signature" not in told
    weights = sum(len(d) for n, d in repository.commits[commit].items() if n.endswith(".safetensors"))
    assert bytes_sent(hub) < 1.2 * weights + 2 * FIRST_READ_BYTES
    assert {request.headers.get("authorization") for request in hub.bytes_host.requests} == {None}
