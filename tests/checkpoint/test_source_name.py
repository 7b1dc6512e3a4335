"""The name from the URI is the one that the opened source has."""

from __future__ import annotations

from pathlib import Path

import pytest

from ggufactory.checkpoint import open_source
from ggufactory.checkpoint.source_name import source_name


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("/models/Llama-3.1-8B/", "Llama-3.1-8B"),
        ("s3://bucket/models/Llama-3.1-8B", "Llama-3.1-8B"),
        ("s3://bucket", "bucket"),
        ("hf://org/name", "name"),
        ("hf://org/name@main", "name"),
        ("hf://org/name@refs%2Fpr%2F1", "name"),
        ("hf://org/name@main/folder", "folder"),
        ("s3://bucket/Llama-BF16-00001-of-00004.gguf", "Llama"),
        ("hf://org/name@main/Llama-Q8_0.gguf", "Llama-Q8_0"),
    ],
)
def test_from_the_uri_alone(uri: str, name: str) -> None:
    assert source_name(uri) == name


def test_as_the_opened_source_is_called(tinylm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(tinylm).parent)
    for uri in (tinylm, tinylm + "/", "tinylm", "./tinylm"):
        assert source_name(uri) == open_source(uri).name == "tinylm"
    monkeypatch.chdir(tinylm)
    assert source_name(".") == open_source(".").name == "tinylm"
