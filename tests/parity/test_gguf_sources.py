"""From a GGUF file as the source, single or split, in a folder or on S3: the same bytes as llama-quantize's."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from gguf_files import Contents, converted, write_gguf, write_split
from ggufactory import job
from ggufactory.spec import JobSpec
from silent_watcher import SilentWatcher
from weed import Weed

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "whole_files.json").read_text())
LADDER = ("Q8_0", "Q6_K", "Q4_K_M", "BF16", "F16", "F32")

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("local_ray")]


@pytest.fixture(scope="module")
def contents(tinylm: str) -> Contents:
    return converted(tinylm)


def _make(source: str, target: str, imatrix: str | None, span_bytes: int | None = None) -> list[str]:
    """SHA-256 of every rung's file, as the manifest records what was read back."""
    spec = JobSpec(
        source=source, to=target, ladder=LADDER, imatrix=(imatrix,) if imatrix else (), span_bytes=span_bytes
    )
    return [f"{entry['file']} {entry['sha256']}" for entry in job.run(spec, SilentWatcher()).entries]


def _expected(case: str) -> list[str]:
    return [f"tinylm-{rung}.gguf {GOLDEN['files'][case][rung]['sha256']}" for rung in LADDER]


@pytest.mark.parametrize("kind", ["BF16", "F16", "F32"])
def test_the_sources_are_the_converters(tmp_path: Path, tinylm: str, kind: str) -> None:
    contents = converted(tinylm, kind)
    path = write_gguf(tmp_path / "x.gguf", contents.metadata, contents.tensors)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == GOLDEN["converted"][kind]["sha256"]


@pytest.mark.parametrize("case", ["plain", "imatrix"])
@pytest.mark.parametrize("span_bytes", [None, 50_000])
def test_one_file(tmp_path: Path, contents: Contents, tinylm_imatrix: str, case: str, span_bytes: int | None) -> None:
    source = write_gguf(tmp_path / "tinylm-BF16.gguf", contents.metadata, contents.tensors)
    imatrix = tinylm_imatrix if case == "imatrix" else None
    assert _make(str(source), str(tmp_path / "out"), imatrix, span_bytes) == _expected(case)
    made = hashlib.sha256((tmp_path / "out" / "tinylm-Q4_K_M.gguf").read_bytes()).hexdigest()
    assert made == GOLDEN["files"][case]["Q4_K_M"]["sha256"]


@pytest.mark.parametrize("case", ["plain", "imatrix"])
def test_a_split(tmp_path: Path, contents: Contents, tinylm_imatrix: str, case: str) -> None:
    """The first file holds metadata alone."""
    source = write_split(tmp_path, "tinylm-BF16", contents, [0, 17, 1, len(contents.tensors) - 18])
    imatrix = tinylm_imatrix if case == "imatrix" else None
    assert _make(str(source), str(tmp_path / "out"), imatrix) == _expected(case)


@pytest.mark.s3
def test_a_split_on_s3(s3: Weed, s3_prefix: str, tmp_path: Path, contents: Contents, tinylm_imatrix: str) -> None:
    source = write_split(tmp_path, "tinylm-BF16", contents, [20, len(contents.tensors) - 20])
    for path in tmp_path.iterdir():
        s3.client().upload_file(str(path), "models", f"gguf/{path.name}")
    assert _make(f"s3://models/gguf/{source.name}", s3_prefix, tinylm_imatrix) == _expected("imatrix")


@pytest.mark.s3
def test_one_file_on_s3_to_a_folder(s3: Weed, tmp_path: Path, contents: Contents) -> None:
    source = write_gguf(tmp_path / "tinylm.bf16.gguf", contents.metadata, contents.tensors)
    s3.client().upload_file(str(source), "models", f"single/{source.name}")
    assert _make(f"s3://models/single/{source.name}", str(tmp_path / "out"), None) == _expected("plain")
