"""Whole files of the bundled model are llama-quantize's, byte for byte, wherever and however they are made."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import boto3
import pytest

from ggufactory.assemble import uploads
from ggufactory.errors import InputError, PlanError
from ggufactory.job import ladder_job
from ggufactory.job.job_spec import JobSpec
from ggufactory.plan.ftypes import FILE_TYPES
from ggufactory.publish.manifest import read, require
from ggufactory.publish.release import names_beside
from ggufactory.storage import open_store
from silent_watcher import SilentWatcher
from weed import Weed

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "whole_files.json").read_text())["files"]
LADDER = ("Q8_0", "Q6_K", "Q4_K_M", "BF16", "F16", "F32")

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("local_ray")]


def _expected(case: str) -> dict[str, str]:
    return {f"tinylm-{rung}.gguf": GOLDEN[case][rung]["sha256"] for rung in LADDER}


def _of_folder(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.gguf")}


@pytest.mark.parametrize("case", ["plain", "imatrix"])
def test_every_file_type(tmp_path: Path, tinylm: str, tinylm_imatrix: str, case: str) -> None:
    """The whole ladder of llama-quantize in one job; what it refuses, we refuse."""
    imatrix = (tinylm_imatrix,) if case == "imatrix" else ()
    refused = tuple(rung for rung, file in GOLDEN[case].items() if file is None)
    ladder = tuple(rung for rung, file in GOLDEN[case].items() if file is not None)
    assert set(GOLDEN[case]) == set(FILE_TYPES)
    result = ladder_job.run(JobSpec(source=tinylm, to=str(tmp_path), ladder=ladder, imatrix=imatrix), SilentWatcher())
    made = {entry["rung"]: (entry["sha256"], entry["bytes"]) for entry in result.entries}
    assert made == {rung: (GOLDEN[case][rung]["sha256"], GOLDEN[case][rung]["bytes"]) for rung in ladder}
    assert {rung.name: rung.bytes for rung in result.plan.rungs} == {r: size for r, (_, size) in made.items()}
    if refused:
        with pytest.raises(PlanError) as caught:
            ladder_job.make_plan(JobSpec(source=tinylm, ladder=refused, imatrix=imatrix))
        assert len(caught.value.faults) == len(refused)
        for rung in refused:
            assert f"rung {rung} needs an importance matrix (--imatrix) for" in str(caught.value)


@pytest.mark.parametrize("case", ["plain", "imatrix"])
@pytest.mark.parametrize("span_bytes", [None, 50_000, 1 << 30])
def test_in_a_folder(tmp_path: Path, tinylm: str, tinylm_imatrix: str, case: str, span_bytes: int | None) -> None:
    imatrix = (tinylm_imatrix,) if case == "imatrix" else ()
    spec = JobSpec(source=tinylm, to=str(tmp_path), ladder=LADDER, imatrix=imatrix, span_bytes=span_bytes)
    result = ladder_job.run(spec, SilentWatcher())
    assert _of_folder(tmp_path) == _expected(case)
    listed = {entry["file"]: entry["sha256"] for entry in result.entries}
    assert listed == _expected(case)
    spans = len(result.plan.spans)
    assert {None: 5 < spans < 20, 50_000: spans > 100, 1 << 30: spans == 1}[span_bytes]


@pytest.mark.s3
@pytest.mark.parametrize("from_s3", [False, True])
def test_on_s3(s3: Weed, s3_prefix: str, tinylm: str, tinylm_imatrix: str, from_s3: bool) -> None:
    source = _upload(s3, Path(tinylm)) if from_s3 else tinylm
    spec = JobSpec(source=source, to=s3_prefix, ladder=LADDER, imatrix=(tinylm_imatrix,), name="tinylm")
    watcher = SilentWatcher()
    result = ladder_job.run(spec, watcher)
    # 5 MiB of the smallest rung are more than half of this model.
    assert len(result.plan.spans) == len(watcher.receipts)
    client = boto3.client("s3")
    prefix = s3_prefix.removeprefix("s3://gguf/")
    keys = [o["Key"] for o in client.list_objects_v2(Bucket="gguf", Prefix=prefix)["Contents"]]
    made = {
        key.rpartition("/")[2]: hashlib.sha256(client.get_object(Bucket="gguf", Key=key)["Body"].read()).hexdigest()
        for key in keys
        if key.endswith(".gguf")
    }
    assert made == _expected("imatrix")
    assert {key.rpartition("/")[2] for key in keys} == {*made, *names_beside(require(open_store(s3_prefix)))}
    for key in (k for k in keys if k.endswith(".gguf")):
        head = client.head_object(Bucket="gguf", Key=key, ChecksumMode="ENABLED")
        assert head["ChecksumType"] == "FULL_OBJECT"
    entries, _ = read(open_store(s3_prefix))
    assert {name: entry["sha256"] for name, entry in entries.items()} == _expected("imatrix")


def test_again_is_nothing_to_do(tmp_path: Path, tinylm: str) -> None:
    spec = JobSpec(source=tinylm, to=str(tmp_path), ladder=("Q8_0", "Q4_K_M"))
    assert ladder_job.run(spec, SilentWatcher()).made
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert not ladder_job.run(spec, SilentWatcher()).made
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_another_rung_makes_that_rung_only(tmp_path: Path, tinylm: str) -> None:
    ladder_job.run(JobSpec(source=tinylm, to=str(tmp_path), ladder=("Q8_0",)), SilentWatcher())
    first = (tmp_path / "tinylm-Q8_0.gguf").stat()
    watcher = SilentWatcher()
    ladder_job.run(JobSpec(source=tinylm, to=str(tmp_path), ladder=("Q8_0", "Q6_K")), watcher)
    assert {name for receipt in watcher.receipts for name, _ in receipt.parts} == {"tinylm-Q6_K.gguf"}
    second = (tmp_path / "tinylm-Q8_0.gguf").stat()
    assert (first.st_ino, first.st_mtime_ns) == (second.st_ino, second.st_mtime_ns)
    assert {entry["file"] for entry in json.loads((tmp_path / "manifest.json").read_text())["artifacts"]} == {
        "tinylm-Q8_0.gguf",
        "tinylm-Q6_K.gguf",
    }


def test_each_type_of_a_piece_is_packed_once(tmp_path: Path, tinylm: str, tinylm_imatrix: str) -> None:
    spec = JobSpec(source=tinylm, to=str(tmp_path), ladder=LADDER, imatrix=(tinylm_imatrix,))
    watcher = SilentWatcher()
    plan = ladder_job.run(spec, watcher).plan
    wanted = sum(
        len(
            {r.decisions[plan.tensors[p.tensor].name].type for r in plan.rungs}
            - {plan.tensors[p.tensor].converted_type}
        )
        for span in plan.spans
        for p in span
    )
    assert sum(receipt.quantizations for receipt in watcher.receipts) == wanted


def _upload(s3: Weed, folder: Path) -> str:
    for path in folder.iterdir():
        s3.client().upload_file(str(path), "models", f"org/tinylm/{path.name}")
    return "s3://models/org/tinylm"


def test_state_of_a_run_that_was_killed_at_its_very_end_is_removed(tmp_path: Path, tinylm: str) -> None:
    spec = JobSpec(source=tinylm, to=str(tmp_path), ladder=("Q8_0",))
    plan = ladder_job.run(spec, SilentWatcher()).plan
    store = open_store(str(tmp_path))
    store.put(uploads.state_name(plan), b'{"fingerprint": "any", "uploads": {}}')
    assert not ladder_job.run(spec, SilentWatcher()).made
    assert store.stat(uploads.state_name(plan)) is None


def test_a_manifest_that_is_none_stops_the_job_before_it_begins(tmp_path: Path, tinylm: str) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match=r"manifest\.json is not a manifest"):
        ladder_job.run(JobSpec(source=tinylm, to=str(tmp_path), ladder=("Q8_0",)), SilentWatcher())
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
