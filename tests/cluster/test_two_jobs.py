"""Jobs that run into the same target at the same time."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from ggufactory.cli import main
from ggufactory.publish.manifest import require
from ggufactory.publish.release import names_beside
from ggufactory.storage import open_store
from job_process import JobProcess, stored_parts
from weed import Weed

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "whole_files.json").read_text())["files"]

pytestmark = pytest.mark.cluster


def _sha256(target: str, name: str) -> str:
    store = open_store(target)
    info = store.stat(name)
    assert info is not None
    data = bytearray(info.size)
    store.read_into(name, 0, memoryview(data))
    return hashlib.sha256(data).hexdigest()


def _run_both(tmp_path: Path, first: list[str], second: list[str]) -> None:
    runs = [JobProcess.start(tmp_path / f"{i}.log", *arguments) for i, arguments in enumerate((first, second))]
    for run in runs:
        assert run.wait() == 0, run.text()


@pytest.mark.parametrize("where", ["folder", pytest.param("s3", marks=pytest.mark.s3)])
def test_of_the_same_plan(
    request: pytest.FixtureRequest, tmp_path: Path, tinylm: str, local_ray: str, where: str
) -> None:
    target = str(tmp_path / "out") if where == "folder" else str(request.getfixturevalue("s3_prefix"))
    arguments = ["quantize", tinylm, "--to", target, "--ladder", "Q8_0,Q4_K_M", "--ray-address", local_ray]
    arguments += ["--span-size", "40K"] if where == "folder" else []
    _run_both(tmp_path, arguments, arguments)
    for rung in ("Q8_0", "Q4_K_M"):
        assert _sha256(target, f"tinylm-{rung}.gguf") == GOLDEN["plain"][rung]["sha256"]
    assert stored_parts(target) == {}
    store = open_store(target)
    names = {info.name for info in store.list()}
    assert names == {*names_beside(require(store)), "tinylm-Q8_0.gguf", "tinylm-Q4_K_M.gguf"}


def test_of_different_plans_never_mix_parts(tmp_path: Path, tinylm: str, tinylm_imatrix: str) -> None:
    """The same file name, with and without importance: whoever completes last, the file is one of the two."""
    target = str(tmp_path / "out")
    plain = ["quantize", tinylm, "--to", target, "--ladder", "Q4_K_M", "--workers", "1", "--span-size", "40K"]
    first = JobProcess.start(tmp_path / "plain.log", *plain)
    assert first.wait_until(lambda: len(stored_parts(target).get("tinylm-Q4_K_M.gguf", ())) >= 5)
    second = JobProcess.start(tmp_path / "imatrix.log", *plain, "--imatrix", tinylm_imatrix)
    codes = {first.wait(), second.wait()}
    # A job that finds its artifact replaced before it has listed it says so and ends with 2.
    assert codes in ({0}, {0, 2}), first.text() + second.text()
    found = _sha256(target, "tinylm-Q4_K_M.gguf")
    assert found in {GOLDEN[case]["Q4_K_M"]["sha256"] for case in ("plain", "imatrix")}
    (entry,) = json.loads((tmp_path / "out" / "manifest.json").read_text())["artifacts"]
    assert entry["sha256"] == found
    assert stored_parts(target) == {}


@pytest.mark.s3
@pytest.mark.usefixtures("local_ray")
def test_another_source_after_a_kill_begins_anew(
    s3: Weed, s3_prefix: str, tmp_path: Path, big_enough_for_s3: str
) -> None:
    """A shard is replaced between two runs: nothing of the first run's parts is used."""
    copy = tmp_path / "medium"
    copy.mkdir()
    for path in Path(big_enough_for_s3).iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    arguments = ["quantize", str(copy), "--to", s3_prefix, "--ladder", "Q4_K_M", "--workers", "2"]
    first = JobProcess.start(tmp_path / "first.log", *arguments)
    assert first.wait_until(lambda: sum(len(p) for p in stored_parts(s3_prefix).values()) >= 2), first.text()
    first.kill()
    shard = sorted(copy.glob("*.safetensors"))[-1]
    data = bytearray(shard.read_bytes())
    data[-2:] = b"\x00\x40"
    shard.write_bytes(data)
    again = JobProcess.start(tmp_path / "again.log", *arguments)
    assert again.wait() == 0, again.text()
    assert main([*arguments[:3], str(tmp_path / "alone"), *arguments[4:]]) == 0
    assert _sha256(s3_prefix, "medium-Q4_K_M.gguf") == _sha256(str(tmp_path / "alone"), "medium-Q4_K_M.gguf")


def test_a_source_replaced_in_the_middle_is_noticed(tmp_path: Path, tinylm: str) -> None:
    copy = tmp_path / "model"
    copy.mkdir()
    for path in Path(tinylm).iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    target = str(tmp_path / "out")
    arguments = ["quantize", str(copy), "--to", target, "--ladder", "classic", "--workers", "1", "--span-size", "20K"]
    run = JobProcess.start(tmp_path / "log", *arguments)
    assert run.wait_until(lambda: sum(len(p) for p in stored_parts(target).values()) >= 5), run.text()
    for shard in copy.glob("*.safetensors"):
        shard.write_bytes(shard.read_bytes())
    assert run.wait() == 2, run.text()
    assert "safetensors" in run.text()
    assert "Traceback" not in run.text()
    assert not list((tmp_path / "out").glob("*.gguf"))
    assert stored_parts(target) == {}
