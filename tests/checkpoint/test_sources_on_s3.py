"""Checkpoints and importance matrices on a real S3 server: the same as from a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from ggufactory.calibrate.imatrix import read_importance_matrix
from ggufactory.checkpoint import open_checkpoint
from ggufactory.checkpoint.summary import summarize
from ggufactory.errors import InputError, SourceChangedError
from synthetic import DATA
from weed import Weed

pytestmark = pytest.mark.s3
TINYLM = DATA / "tinylm"
IMATRIX = DATA / "imatrix" / "tinylm-bf16.imatrix.gguf"


def upload(server: Weed, folder: Path, prefix: str) -> str:
    for path in filter(Path.is_file, folder.iterdir()):
        server.client().upload_file(str(path), "models", f"{prefix}/{path.name}")
    return f"s3://models/{prefix}"


@pytest.fixture(scope="module")
def uploaded(s3_server: Weed) -> str:
    upload(s3_server, IMATRIX.parent, "sources/imatrix")
    s3_server.client().put_object(Bucket="models", Key="sources/tinylm/original/consolidated.00.pth", Body=b"x")
    return upload(s3_server, TINYLM, "sources/tinylm")


@pytest.fixture(autouse=True)
def reader(s3_server: Weed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who may only read is enough."""
    for name, value in s3_server.environment(Weed.WORKER).items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("end", ["", "/"])
def test_a_checkpoint_is_the_same_as_in_a_folder(uploaded: str, end: str) -> None:
    remote, local = open_checkpoint(uploaded + end), open_checkpoint(str(TINYLM))
    assert list(remote.tensors.items()) == list(local.tensors.items())
    assert {name: info.size for name, info in remote.files.items()} == {
        name: info.size for name, info in local.files.items()
    }
    assert remote.name == "tinylm"
    assert remote.read_json("config.json") == local.read_json("config.json")
    assert summarize(remote).total == summarize(local).total


def test_a_row_can_be_read_at_its_offset(uploaded: str) -> None:
    checkpoint = open_checkpoint(uploaded)
    tensor = checkpoint.tensors["model.norm.weight"]
    row = bytearray(tensor.nbytes)
    checkpoint.store.read_into(tensor.file, tensor.offset, memoryview(row), etag=checkpoint.files[tensor.file].etag)
    with (TINYLM / tensor.file).open("rb") as file:
        file.seek(tensor.offset)
        assert file.read(tensor.nbytes) == row


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("..", "only folders .*/"),
        ("nothing", "empty, or there is no such folder"),
        ("config.json", "is a file"),
    ],
)
def test_what_is_no_checkpoint(uploaded: str, path: str, says: str) -> None:
    uri = uploaded.rpartition("/")[0] if path == ".." else f"{uploaded}/{path}"
    with pytest.raises(InputError, match=says):
        open_checkpoint(uri)


def test_a_file_replaced_after_opening(s3_server: Weed) -> None:
    uri = upload(s3_server, TINYLM, "sources-replaced/tinylm")
    checkpoint = open_checkpoint(uri)
    s3_server.client().put_object(Bucket="models", Key="sources-replaced/tinylm/config.json", Body=b'{"a": 1}')
    with pytest.raises(SourceChangedError, match=r"config\.json"):
        checkpoint.read_json("config.json")
    assert open_checkpoint(uri).read_json("config.json") == {"a": 1}


@pytest.mark.usefixtures("uploaded")
def test_an_importance_matrix() -> None:
    remote = read_importance_matrix(f"s3://models/sources/imatrix/{IMATRIX.name}")
    local = read_importance_matrix(str(IMATRIX))
    assert remote.sha256 == local.sha256
    assert {name: values.tobytes() for name, values in remote.entries.items()} == {
        name: values.tobytes() for name, values in local.entries.items()
    }
    with pytest.raises(InputError, match=r"no importance matrix file s3://models/nothing\.gguf"):
        read_importance_matrix("s3://models/nothing.gguf")
