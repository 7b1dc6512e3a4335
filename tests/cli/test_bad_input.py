"""Every wrong input: one clear message, the documented exit code, no traceback, nothing left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from corruptions import CORRUPTIONS, UNUSABLE
from ggufactory.cli import main
from ggufactory.storage import open_store
from weed import Weed

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """One command in this process: its exit code and what it said."""

    def command(*arguments: str) -> tuple[int, str]:
        code = main(arguments)
        return code, capsys.readouterr().err

    return command


@pytest.fixture
def checkpoint(tmp_path: Path, tinylm: str) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(tinylm, folder)
    return folder


def _assert_refused(code: int, said: str, target: Path) -> None:
    assert code == 2
    assert said.startswith("ggufactory: ")
    assert "Traceback" not in said
    assert not target.exists()


@pytest.mark.parametrize("name", [*CORRUPTIONS, *UNUSABLE])
def test_broken_checkpoint(run: Run, checkpoint: Path, tmp_path: Path, name: str) -> None:
    {**CORRUPTIONS, **UNUSABLE}[name](checkpoint)
    code, said = run("quantize", str(checkpoint), "--to", str(tmp_path / "out"), "--ladder", "Q8_0")
    _assert_refused(code, said, tmp_path / "out")
    assert len(said) < 2000


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["{tinylm}", "--ladder", "Q9_Z"], "unknown rung 'Q9_Z'"),
        (["{tinylm}", "--ladder", ","], "the ladder is empty"),
        (["{tinylm}"], "the ladder is empty"),
        (["--ladder", "Q8_0"], "no source"),
        (["{tinylm}", "--ladder", "IQ2_XS"], "rung IQ2_XS needs an importance matrix (--imatrix)"),
        (["{tinylm}", "--ladder", "Q8_0", "--name", "a/b"], "name: wanted a file name"),
        (["{tinylm}", "--ladder", "Q8_0", "--span-size", "much"], "size 'much'"),
        (["{tinylm}", "--ladder", "Q8_0", "--workers", "0"], "workers: wanted 1 or more"),
        (["{tinylm}", "--ladder", "Q8_0", "--job", "nowhere.yaml"], "job file nowhere.yaml cannot be read"),
        (["gs://bucket/model", "--ladder", "Q8_0"], "cannot open a store of the kind 'gs'"),
        (["/no/such/folder", "--ladder", "Q8_0"], "/no/such/folder"),
        (["{tinylm}", "--ladder", "Q8_0", "--imatrix", "/no/such/file"], "/no/such/file"),
        (["{tinylm}", "--ladder", "Q8_0", "--imatrix", "{tinylm}/config.json"], "config.json"),
    ],
)
def test_wrong_request(run: Run, tmp_path: Path, tinylm: str, arguments: list[str], told: str) -> None:
    given = [argument.format(tinylm=tinylm) for argument in arguments]
    code, said = run("quantize", *given, "--to", str(tmp_path / "out"))
    _assert_refused(code, said, tmp_path / "out")
    assert told in said


def test_a_device_that_is_not_here(run: Run, tmp_path: Path, tinylm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ggufactory_kernels.backends.missing", lambda backend, type: "no driver")
    code, said = run("quantize", tinylm, "--to", str(tmp_path / "out"), "--ladder", "Q8_0", "--device", "cuda")
    _assert_refused(code, said, tmp_path / "out")
    assert "device cuda: no driver" in said
    assert "explain" in said


def test_importance_matrix_of_another_model(run: Run, tmp_path: Path, tinylm_imatrix: str) -> None:
    other = Path(__file__).parents[1] / "data" / "architectures" / "llama2" / "checkpoint"
    arguments = [str(other), "--to", str(tmp_path / "out"), "--ladder", "Q8_0", "--imatrix", tinylm_imatrix]
    code, said = run("quantize", *arguments)
    _assert_refused(code, said, tmp_path / "out")
    assert "tinylm-bf16.imatrix.gguf is of another model" in said


def test_target_that_cannot_be_written(run: Run, tmp_path: Path, tinylm: str) -> None:
    (tmp_path / "file").write_text("a file, not a folder")
    code, said = run("quantize", tinylm, "--to", str(tmp_path / "file" / "out"), "--ladder", "Q8_0")
    assert code == 2
    assert str(tmp_path / "file") in said
    assert (tmp_path / "file").read_text() == "a file, not a folder"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_full_disk(tmp_path: Path, tinylm: str) -> None:
    """A file system of 4 MB in a mount namespace of its own; the ladder needs 8 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = (
        f"mount -t tmpfs -o size=4m none {disk} && "
        f"{sys.executable} -m ggufactory quantize {tinylm} --to {disk}/out --ladder Q8_0,Q6_K; "
        f"echo code $?; ls -A {disk}"
    )
    done = subprocess.run(["unshare", "-m", "sh", "-c", command], capture_output=True, text=True, check=False)
    if "code" not in done.stdout:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    assert "code 4" in done.stdout
    assert "Traceback" not in done.stderr
    assert "are free" in done.stderr
    assert done.stdout.split("code 4")[1].split() in ([], ["out"])


@pytest.mark.s3
def test_missing_bucket(run: Run, s3: Weed, tinylm: str) -> None:
    code, said = run("quantize", tinylm, "--to", "s3://nowhere/x", "--ladder", "Q8_0")
    assert (code, "nowhere" in said, "Traceback" in said) == (2, True, False)


@pytest.mark.s3
def test_wrong_credentials(run: Run, s3: Weed, tinylm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    code, said = run("quantize", tinylm, "--to", "s3://gguf/x", "--ladder", "Q8_0")
    assert (code, "Traceback" in said, "wrong-secret" in said) == (2, False, False)


@pytest.mark.s3
def test_bucket_that_may_only_be_read(run: Run, s3: Weed, tinylm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in s3.environment(Weed.WORKER).items():
        monkeypatch.setenv(variable, value)
    code, said = run("quantize", tinylm, "--to", "s3://models/out", "--ladder", "Q8_0")
    assert (code, "Traceback" in said) == (2, False)
    assert not open_store("s3://models/out").list()


def test_no_server(run: Run, tinylm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    code, said = run("quantize", tinylm, "--to", "s3://gguf/x", "--ladder", "Q8_0")
    assert (code, "http://127.0.0.1:9" in said, "Traceback" in said) == (4, True, False)
