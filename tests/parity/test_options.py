"""Files made with options are llama-quantize's with the same flags.

tests/data/options.json: what llama-quantize of the pinned release made of tinylm's BF16 file.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from ggufactory.cli import main

CASES: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "options.json").read_text())


@pytest.mark.cluster
@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("name", CASES)
def test_equals_the_reference(tmp_path: Path, tinylm: str, tinylm_imatrix: str, name: str) -> None:
    case = CASES[name]
    flags = [tinylm_imatrix if flag == Path(tinylm_imatrix).name else flag for flag in case["arguments"]]
    assert main(["quantize", tinylm, "--to", str(tmp_path), "--ladder", case["rung"], *flags]) == 0
    data = (tmp_path / f"tinylm-{case['rung']}.gguf").read_bytes()
    assert len(data) == case["bytes"]
    assert hashlib.sha256(data).hexdigest() == case["sha256"]


@pytest.mark.cluster
@pytest.mark.usefixtures("local_ray")
def test_options_of_one_rung_in_a_job_file(tmp_path: Path, tinylm: str, tinylm_imatrix: str) -> None:
    """Rungs that differ in their options alone, importance included, made in one job from one read."""
    (tmp_path / "job.yaml").write_text(
        f"""
source: {tinylm}
to: {tmp_path}
imatrix: {tinylm_imatrix}
ladder:
  - Q4_K_L
  - {{type: Q4_K_M, name: exclude, exclude_importance: [ffn_down, attn_q]}}
  - {{type: Q4_K_M, name: include, include_importance: attn}}
  - {{type: Q4_K_M, name: types, tensor_types: {{attn_v: Q8_0, ffn_(up|gate): Q6_K}}}}
"""
    )
    assert main(["quantize", "--job", str(tmp_path / "job.yaml")]) == 0
    for rung, name in (("Q4_K_L", "Q4_K_L"), ("exclude", "exclude"), ("include", "include"), ("types", "tensor types")):
        data = (tmp_path / f"tinylm-{rung}.gguf").read_bytes()
        assert hashlib.sha256(data).hexdigest() == CASES[name]["sha256"], rung


def test_the_plan_says_what_an_option_changed(capsys: pytest.CaptureFixture[str], tinylm: str) -> None:
    assert main(["plan", tinylm, "--ladder", "Q4_K_L"]) == 0
    said = capsys.readouterr().out
    assert "Q4_K_L: by its options 1 tensors are Q8_0 instead of Q4_K: token_embd.weight" in said
    assert "Q4_K_L: by its options 1 tensors are Q8_0 instead of Q6_K: output.weight" in said


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--tensor-type", "attn_v"], "wanted REGEX=TYPE"),
        (["--tensor-type", "attn_v=Q9"], "unknown tensor type 'Q9'"),
        (["--override-kv", "a=int:x"], "'x' is no int"),
        (["--override-kv", "a=list:x"], "wanted KEY=TYPE:VALUE"),
        (["--prune-layers", "1,x"], "wanted numbers such as 3,4,5"),
        (["--prune-layers", "7"], "the model has layers 0 to 3, not 7"),
        (["--include-weights", "a", "--exclude-weights", "b"], "cannot be used together"),
        (["--split-max-size", "0"], "split_max_size: wanted 1 byte or more"),
    ],
)
def test_flags_that_cannot_be_meant(
    capsys: pytest.CaptureFixture[str], tinylm: str, flags: list[str], told: str
) -> None:
    assert main(["plan", tinylm, "--ladder", "Q4_K_M", *flags]) == 2
    assert told in capsys.readouterr().err
