"""`inspect --errors`: the worst tensors of each rung, by the manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ggufactory.cli import main
from made_targets import made_target

RECIPE = {"F32": ["output_norm.weight"], "Q4_K": ["blk.[0-2].attn_q.weight"], "Q6_K": ["output.weight"]}
ERRORS = {
    "blk.0.attn_q.weight": 0.07,
    "output.weight": 0.01819,
    "blk.1.attn_q.weight": 0.0693,
    "blk.2.attn_q.weight": 0.3,
}


def _target(folder: Path, **rungs: dict[str, float] | None) -> str:
    """Rungs, the later the smaller, with these errors, or none."""
    for number, (rung, errors) in enumerate(rungs.items()):
        changes: dict[str, Any] = {"recipe": RECIPE} if errors is None else {"recipe": RECIPE, "errors": errors}
        made_target(folder, {rung: 1000 - number}, keep=True, **changes)
    return str(folder)


def test_a_row_for_each_rung_and_for_its_worst_tensors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = _target(tmp_path, BF16=None, Q4_K_M=ERRORS, Q3_K_M={"output.weight": 0.0})
    assert main(["inspect", target, "--errors", "--worst", "2"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    assert rows == [
        ["rung", "size", "bits/weight", "measured", "median", "worst"],
        ["BF16", "1.00", "kB", "4.50", "none"],
        ["Q4_K_M", "999", "B", "4.50", "4", "tensors", "6.965", "%", "30", "%"],
        ["Q3_K_M", "998", "B", "4.50", "1", "tensors", "0", "%", "0", "%"],
        ["rung", "tensor", "type", "relative", "error"],
        ["Q4_K_M", "blk.2.attn_q.weight", "Q4_K", "30", "%"],
        ["Q4_K_M", "blk.0.attn_q.weight", "Q4_K", "7", "%"],
        ["Q3_K_M", "output.weight", "Q6_K", "0", "%"],
    ]


def test_json_of_some_rungs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = _target(tmp_path, Q4_K_M=ERRORS, Q3_K_M={"output.weight": 0.5})
    assert main(["inspect", target, "--errors", "--json", "--worst", "1", "--ladder", "Q4_K_M"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "target": target,
        "rungs": [
            {
                "rung": "Q4_K_M",
                "bytes": 1000,
                "bits_per_weight": 4.5,
                "measured": 4,
                "median": 0.06965,
                "worst": [{"tensor": "blk.2.attn_q.weight", "type": "Q4_K", "error": 0.3}],
            }
        ],
    }


def test_a_split_is_one_rung(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_target(tmp_path, {}, split={"Q4_K_M": [10, 20]}, recipe=RECIPE, errors={"output.weight": 0.1})
    path = tmp_path / "manifest.json"
    content = json.loads(path.read_text())
    content["artifacts"][0]["errors"] = {"blk.0.attn_q.weight": 0.2}
    path.write_text(json.dumps(content))
    assert main(["inspect", str(tmp_path), "--errors", "--json"]) == 0
    (rung,) = json.loads(capsys.readouterr().out)["rungs"]
    assert [tensor["error"] for tensor in rung["worst"]] == [0.2, 0.1]


def test_what_has_no_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str], tinylm: str) -> None:
    target = _target(tmp_path / "old", Q4_K_M=None, Q8_0=None)
    two = _target(tmp_path / "two", Q4_K_M=ERRORS)
    made_target(tmp_path / "two", {"Q8_0": 5}, keep=True, name="other")
    made_target(tmp_path / "bad", {"Q8_0": 5}, recipe={"Q8_0": 7}, errors=ERRORS)
    bad = str(tmp_path / "bad")
    for arguments, told in (
        ([target, "--errors"], "tells no errors of Q4_K_M, Q8_0. Earlier releases did not measure them"),
        ([two, "--errors", "--ladder", "Q8_0", "--name", "other"], "tells no errors of Q8_0"),
        ([two, "--errors"], "has rungs of 2 models: name, other. Choose one with --name"),
        ([two, "--errors", "--name", "name", "--ladder", "Q4_K_M,Q2_K"], "has no Q2_K; it has Q4_K_M"),
        ([two, "--errors", "--worst", "0"], "at least 1, found 0"),
        ([bad, "--errors"], "name-Q8_0.gguf: its recipe cannot be read"),
        ([tinylm, "--errors"], "has no manifest.json"),
        ([str(tmp_path / "x.gguf"), "--errors"], "is one file: --errors reads the manifest.json beside it"),
        ([tinylm, "--ladder", "Q8_0"], "--ladder belongs to --errors"),
        ([tinylm, "--json"], "--json belongs to --errors"),
    ):
        assert main(["inspect", *arguments]) == 2
        said = capsys.readouterr().err
        assert told in said, said
