"""What the commands print and return, on input that is right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gguf_files import Stored, converted, u32, write_gguf, write_split
from ggufactory.assemble.lease import leased
from ggufactory.cli import main
from ggufactory.storage import open_store


def test_plan_as_json(capsys: pytest.CaptureFixture[str], tinylm: str) -> None:
    assert main(["plan", tinylm, "--ladder", "Q8_0, q4_k_m", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [(rung["rung"], rung["bytes"]) for rung in plan["rungs"]] == [("Q8_0", 4372800), ("Q4_K_M", 2586176)]
    assert plan["rungs"][1]["tensors"]["output.weight"] == "Q6_K"
    assert plan["rungs"][0]["files"] == [{"name": "tinylm-Q8_0.gguf", "bytes": 4372800, "parts": plan["spans"]}]


def test_plan_for_people(capsys: pytest.CaptureFixture[str], tinylm: str) -> None:
    assert main(["plan", tinylm, "--ladder", "Q4_K_M"]) == 0
    said = capsys.readouterr().out
    assert "tinylm-Q4_K_M.gguf  2.59 MB" in said
    assert "Q4_K 25, F32 9, Q6_K 5" in said
    assert "4,065,536 parameters of llama" in said
    assert "on a GPU a worker needs 1.8" in said


def test_plan_for_a_store_keeps_to_its_limits(
    capsys: pytest.CaptureFixture[str], tinylm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    assert main(["plan", tinylm, "--ladder", "Q8_0,Q4_K_M", "--to", "s3://anywhere/x", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["spans"] == 1


def test_job_file_and_flags_over_it(capsys: pytest.CaptureFixture[str], tmp_path: Path, tinylm: str) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(f"source: {tinylm}\nladder: [Q8_0, F16]\nname: other\nspan_size: 100K\nworkers: 1\n")
    assert main(["plan", "--job", str(job), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [rung["files"][0]["name"] for rung in plan["rungs"]] == ["other-Q8_0.gguf", "other-F16.gguf"]
    assert plan["spans"] > 50
    assert main(["plan", "--job", str(job), "--json", "--ladder", "Q6_K", "--span-size", "1G"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [rung["files"][0]["name"] for rung in plan["rungs"]] == ["other-Q6_K.gguf"]
    assert plan["spans"] == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ladders: [Q8_0]", "unknown field 'ladders'"),
        ("ladder: {Q8_0: 1}", "ladder: wanted a list of rungs"),
        ("workers: many", "workers: wanted a whole number, found 'many'"),
        ("source: [a]", "source: wanted text"),
        ("- a\n- b", "wanted fields such as `source:`"),
        ("a: [", "line 1, column 5: "),
    ],
)
def test_job_file_that_is_wrong(capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, told: str) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(text)
    assert main(["plan", "--job", str(job)]) == 2
    assert told in capsys.readouterr().err


def test_inspect_a_checkpoint(capsys: pytest.CaptureFixture[str], tinylm: str) -> None:
    assert main(["inspect", tinylm]) == 0
    said = capsys.readouterr().out
    for fact in ("LlamaForCausalLM", "4,065,536", "39 in 2 files", "BF16"):
        assert fact in said


def test_inspect_a_split(capsys: pytest.CaptureFixture[str], tmp_path: Path, tinylm: str) -> None:
    """The first file stands for all of them, another for itself."""
    contents = converted(tinylm)
    first = write_split(tmp_path, "m", contents, [0, 20, len(contents.tensors) - 20])
    assert main(["inspect", str(first)]) == 0
    said = capsys.readouterr().out
    for fact in ("4,065,536", "39 in 3 files", "8.18 MB", "split.count"):
        assert fact in said
    assert main(["inspect", str(tmp_path / "m-00002-of-00003.gguf")]) == 0
    assert "20" in capsys.readouterr().out.split()
    (tmp_path / "m-00002-of-00003.gguf").unlink()
    assert main(["inspect", str(first)]) == 2
    assert "m-00002-of-00003.gguf" in capsys.readouterr().err


def test_inspect_what_no_model_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Empty tensors, another alignment, no architecture: shown all the same."""
    metadata = [u32("general.alignment", 64)]
    path = write_gguf(tmp_path / "m.gguf", metadata, [Stored("a", "Q8_0", (0, 4), b"")], alignment=64)
    assert main(["inspect", str(path)]) == 0
    assert "general.alignment" in capsys.readouterr().out


def test_plan_from_a_gguf_file(capsys: pytest.CaptureFixture[str], tmp_path: Path, tinylm: str) -> None:
    contents = converted(tinylm)
    source = write_split(tmp_path, "tiny.bf16", contents, [0, len(contents.tensors)])
    assert main(["plan", str(source), "--ladder", "Q8_0", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [(f["name"], f["bytes"]) for f in plan["rungs"][0]["files"]] == [("tiny-Q8_0.gguf", 4372800)]
    (tmp_path / "job.yaml").write_text(f"source: {source}\nladder: Q8_0\nallow_requantize: true\nname: other\n")
    assert main(["plan", "--job", str(tmp_path / "job.yaml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rungs"][0]["files"][0]["name"] == "other-Q8_0.gguf"


@pytest.mark.cluster
@pytest.mark.usefixtures("local_ray")
def test_quantize_inspect_and_verify(capsys: pytest.CaptureFixture[str], tmp_path: Path, tinylm: str) -> None:
    target = tmp_path / "out"
    assert main(["quantize", tinylm, "--to", str(target), "--ladder", "Q8_0,Q4_K_M"]) == 0
    table, log = capsys.readouterr()
    assert "tinylm-Q4_K_M.gguf  2.59 MB" in table
    assert "stage=checksum files=2" in log
    assert main(["quantize", tinylm, "--to", str(target), "--ladder", "Q8_0,Q4_K_M"]) == 0
    assert "Nothing to do" in capsys.readouterr().out

    assert main(["inspect", str(target / "tinylm-Q4_K_M.gguf")]) == 0
    said = capsys.readouterr().out
    for fact in ("general.architecture", "Q4_K", "4,065,536", "2,048 x STRING"):
        assert fact in said

    assert main(["verify", str(target)]) == 0
    assert capsys.readouterr().out.count(" ok") == 8
    with (target / "tinylm-Q8_0.gguf").open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"\0" if file.read(1) != b"\0" else b"\1")
    (target / "tinylm-Q4_K_M.gguf").unlink()
    assert main(["verify", str(target)]) == 2
    said, error = capsys.readouterr()
    assert "tinylm-Q8_0.gguf  4.37 MB  FAILED wanted SHA-256" in said
    assert "tinylm-Q4_K_M.gguf  2.59 MB  FAILED is missing" in said
    assert "2 of 2 artifacts are not what was made" in error


def test_quantize_yields_to_the_holder_of_the_lease_when_asked_to(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tinylm: str
) -> None:
    target = str(tmp_path / "out")
    arguments = ["quantize", tinylm, "--to", target, "--ladder", "Q8_0", "--if-locked"]
    with leased(open_store(target), "another run"):
        assert main([*arguments, "skip"]) == 0
        assert "skipped" in capsys.readouterr().err
        assert main([*arguments, "fail"]) == 5
        assert "(another run) holds the lease" in capsys.readouterr().err
    assert open_store(target).list() == []


def test_verify_where_nothing_was_made(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["verify", str(tmp_path)]) == 2
    assert "has no manifest.json" in capsys.readouterr().err


def test_a_reader_that_has_enough() -> None:
    """`ggufactory --help | head -1` is no error."""
    command = f"{sys.executable} -m ggufactory --help | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
