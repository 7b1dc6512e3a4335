from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ggufactory.errors import InputError
from ggufactory.storage import open_file, open_store


@pytest.mark.parametrize(
    ("uri", "normalized"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("s3://bucket//a/b//", "s3://bucket/a/b"),
        ("s3://bucket/with space/é%20", "s3://bucket/with space/é%20"),
        ("/data/models", "/data/models"),
        ("/data/models/", "/data/models"),
        ("file:///data/models", "/data/models"),
        ("file://localhost/data/with%20space", "/data/with space"),
    ],
)
def test_a_uri_is_normalized(uri: str, normalized: str) -> None:
    assert open_store(uri).uri == normalized
    assert open_store(normalized).uri == normalized


@pytest.mark.parametrize(
    ("uri", "folder", "name"),
    [
        ("s3://bucket/m.gguf", "s3://bucket", "m.gguf"),
        ("s3://bucket/a/b%20/m%20.gguf", "s3://bucket/a/b%20", "m%20.gguf"),
        ("/m.gguf", "/", "m.gguf"),
        ("m.gguf", str(Path.cwd()), "m.gguf"),
        ("file:///data/with%20space/m%20.gguf", "/data/with space", "m .gguf"),
    ],
)
def test_a_file_is_in_a_store(uri: str, folder: str, name: str) -> None:
    store, found = open_file(uri)
    assert (store.uri, found) == (folder, name)


def test_a_relative_path_and_a_home_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert open_store("out").uri == str(tmp_path / "out")
    assert open_store("~/out").uri == str(tmp_path / "home" / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "uri",
    [
        "", "s3://", "s3:///prefix", "s3://buc ket/x", "s3://bucket/../x", "s3://bucket/a//b", "s3:/bucket/x",
        "gs://bucket/x", "hf://org", "https://host/x", "file://other-host/x", "~no-such-user-here/x", "a\0b",
    ],
)  # fmt: skip
def test_a_uri_that_names_no_store_is_refused(uri: str) -> None:
    with pytest.raises(InputError):
        open_store(uri)


def test_the_refusal_says_what_is_supported() -> None:
    with pytest.raises(InputError, match=r"gs://bucket/x: .*'gs'.*s3://bucket/prefix.*folder path"):
        open_store("gs://bucket/x")


def test_folders_need_no_boto3(tmp_path: Path) -> None:
    code = (
        "import sys, ggufactory.storage as storage\n"
        f"storage.open_store({str(tmp_path)!r}).put('x', b'1')\n"
        "print([name for name in ('boto3', 'botocore', 'torch', 'ray') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
