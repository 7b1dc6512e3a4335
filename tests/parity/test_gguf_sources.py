"""From a GGUF file as the source, single or split, in a folder or on S3: the same bytes as llama-quantize's."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from gguf_files import Contents, converted, write_gguf, write_split
from ggufactory.errors import InputError
from ggufactory.job import ladder_job
from ggufactory.job.job_spec import JobSpec
from silent_watcher import SilentWatcher
from weed import Weed

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "whole_files.json").read_text())
LADDERS = {case: tuple(rung for rung, file in files.items() if file) for case, files in GOLDEN["files"].items()}
"""Every file type that llama-quantize makes, with and without importance."""

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("local_ray")]


@pytest.fixture(scope="module")
def contents(tinylm: str) -> Contents:
    return converted(tinylm)


def _make(source: str, target: str, imatrix: str | None, span_bytes: int | None = None) -> list[str]:
    """SHA-256 of every rung's file, as the manifest records what was read back."""
    ladder, given = (LADDERS["imatrix"], (imatrix,)) if imatrix else (LADDERS["plain"], ())
    spec = JobSpec(source=source, to=target, ladder=ladder, imatrix=given, span_bytes=span_bytes)
    return [f"{entry['file']} {entry['sha256']}" for entry in ladder_job.run(spec, SilentWatcher()).entries]


def _expected(case: str) -> list[str]:
    return [f"tinylm-{rung}.gguf {GOLDEN['files'][case][rung]['sha256']}" for rung in LADDERS[case]]


@pytest.mark.parametrize("kind", ["BF16", "F16", "F32"])
def test_the_sources_are_the_converters(tmp_path: Path, tinylm: str, kind: str) -> None:
    contents = converted(tinylm, kind)
    path = write_gguf(tmp_path / "x.gguf", contents.metadata, contents.tensors)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == GOLDEN["converted"][kind]["sha256"]


@pytest.mark.parametrize("case", ["plain", "imatrix"])
@pytest.mark.parametrize("span_bytes", [None, 200_000])
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


def test_keep_split(tmp_path: Path, contents: Contents, tinylm_imatrix: str) -> None:
    """As llama-quantize --keep-split: types are decided in the order of the split, and differ from the whole file's."""
    recorded = json.loads((Path(__file__).parents[1] / "data" / "keep_split.json").read_text())
    source = write_split(tmp_path, "tinylm-BF16", contents, recorded["tensors"])
    spec = JobSpec(
        source=str(source),
        to=str(tmp_path / "out"),
        ladder=tuple(recorded["files"]),
        imatrix=(tinylm_imatrix,),
        keep_split=True,
    )
    found: dict[str, list[str]] = {}
    for entry in ladder_job.run(spec, SilentWatcher()).entries:
        found.setdefault(entry["rung"], []).append(entry["sha256"])
    assert found == recorded["files"]
    assert len(list((tmp_path / "out").glob("tinylm-Q4_K_M-0000*-of-00003.gguf"))) == 3


def test_keep_split_is_of_gguf_files(tinylm: str) -> None:
    with pytest.raises(InputError, match=r"keep_split: .* is no GGUF file.*--split-max-size"):
        ladder_job.make_plan(JobSpec(source=tinylm, ladder=("Q8_0",), keep_split=True))
