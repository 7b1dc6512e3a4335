"""`ggufactory choose`: what it says, in words and as JSON, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ggufactory.cli import main
from ggufactory.container.header import encode_header
from ggufactory.container.metadata import KeyValue, ValueType
from made_targets import MadeTarget, made_target
from measured_targets import HYPERPARAMETERS, add_figures, recorded_quality

GB = 1_000_000_000
SIZES = {"Q8_0": 10 * GB, "Q6_K": 7 * GB, "Q4_K_M": 5 * GB}


@pytest.fixture
def target(tmp_path: Path) -> MadeTarget:
    """Of the sizes of an 8B model, by its manifest."""
    made = made_target(tmp_path / "out", {"Q8_0": 3, "Q6_K": 2, "Q4_K_M": 1})
    add_figures(made.uri, {r: {"bytes": s, "hyperparameters": HYPERPARAMETERS} for r, s in SIZES.items()}, draw=False)
    return made


@pytest.fixture
def measured(target: MadeTarget) -> MadeTarget:
    add_figures(target.uri, {rung: {"quality": recorded_quality(rung)} for rung in SIZES}, draw=False)
    return target


def as_json(target: MadeTarget, capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["choose", target.uri, *flags, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_it_says_what_and_why(measured: MadeTarget, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["choose", measured.uri, "--vram", "10"]) == 0
    said = capsys.readouterr().out
    assert "Q6_K  (name-Q6_K.gguf)" in said
    assert "the least divergence of the 2 that fit: 0.001431" in said
    assert "context of 8,192 tokens 1.0 GiB" in said
    assert "llama-server -m name-Q6_K.gguf -c 8192 -ngl 33" in said


def test_as_json(measured: MadeTarget, capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(measured, capsys, "--vram", "10", "--context", "4096")
    assert (found["rung"], found["files"], found["where"]) == ("Q6_K", ["name-Q6_K.gguf"], "VRAM")
    assert found["needs"]["weights"] == SIZES["Q6_K"]
    assert found["needs"]["cache"] == 1 << 29
    assert found["divergence"] == recorded_quality("Q6_K")["kld_mean"]


def test_nothing_measured(target: MadeTarget, capsys: pytest.CaptureFixture[str]) -> None:
    add_figures(target.uri, {rung: {"bits_per_weight": size / GB} for rung, size in SIZES.items()}, draw=False)
    found = as_json(target, capsys, "--vram", "10")
    assert found["rung"] == "Q6_K"
    assert found["why"] == "the most bits per weight of the 2 that fit; nothing was measured"
    assert found["divergence"] is None


def test_figures_of_another_text_are_not_compared(measured: MadeTarget, capsys: pytest.CaptureFixture[str]) -> None:
    other = {**recorded_quality("Q8_0"), "kld_mean": 0.0, "context": 512}
    add_figures(measured.uri, {"Q8_0": {"quality": other}}, draw=False)
    found = as_json(measured, capsys, "--vram", "80")
    assert (found["rung"], found["not_comparable"]) == ("Q6_K", ["Q8_0"])


def test_nothing_fits(measured: MadeTarget, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["choose", measured.uri, "--vram", "4"]) == 2
    said = capsys.readouterr().err
    assert "no rung fits into 4.0 GiB of VRAM: the smallest, Q4_K_M, needs 6.0 GiB" in said
    assert "15 of 33 layers on the GPU (-ngl 15)" in said
    advised = re.search(r"With ([\d.]+) GiB of RAM besides", said)
    assert advised
    found = as_json(measured, capsys, "--vram", "4", "--ram", advised[1])
    assert (found["rung"], found["where"], found["gpu_layers"]) == ("Q4_K_M", "VRAM and RAM", 15)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--ram", "6.9", "--context", "9000"], "with --context 4352 it fits as it is"),
        (["--vram", "6.5", "--context", "60000"], "with --context 3584 it fits as it is"),
        (["--vram", "2", "--ram", "4"], "With 2.1 GiB more of RAM it fits (--ram)"),
    ],
)
def test_what_is_advised_where_nothing_fits_is_enough(
    measured: MadeTarget, flags: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["choose", measured.uri, *flags]) == 2
    said = capsys.readouterr().err
    assert told in said
    if shorter := re.search(r"--context (\d+) it fits", said):
        assert as_json(measured, capsys, *flags[:2], "--context", shorter[1])["rung"] == "Q4_K_M"
    else:
        assert as_json(measured, capsys, "--vram", "2", "--ram", "6.1")["rung"] == "Q4_K_M"


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ([], "no memory is given"),
        (["--vram", "-1"], "--vram -1: wanted a number of GB"),
        (["--ram", "nan"], "--ram nan: wanted a number of GB"),
        (["--vram", "8", "--context", "0"], "--context 0: wanted 1 to"),
        (["--vram", "8", "--name", "x"], "has no rungs of x"),
    ],
)
def test_refused(target: MadeTarget, flags: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["choose", target.uri, *flags]) == 2
    assert told in capsys.readouterr().err


def test_a_manifest_of_an_earlier_release_has_its_file_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The header of the artifact has what the manifest has not."""
    target = made_target(tmp_path, {"Q8_0": 10})
    numbers = {f"llama.{key}": value for key, value in HYPERPARAMETERS.items() if isinstance(value, int)}
    metadata = [
        KeyValue("general.architecture", ValueType.STRING, "llama"),
        *(KeyValue(key, ValueType.UINT32, value) for key, value in numbers.items()),
        KeyValue("tokenizer.ggml.tokens", ValueType.ARRAY, ("a", "b"), ValueType.STRING),
    ]
    (tmp_path / "name-Q8_0.gguf").write_bytes(encode_header(metadata, []))
    found = as_json(target, capsys, "--vram", "4", "--context", "512")
    assert found["needs"]["cache"] == 32 * 8 * 512 * 2 * 128 * 2
    (tmp_path / "name-Q8_0.gguf").write_bytes(encode_header(metadata[:3], []))
    assert main(["choose", target.uri, "--vram", "4"]) == 2
    assert "its header does not say what a context takes" in capsys.readouterr().err
    (tmp_path / "name-Q8_0.gguf").unlink()
    assert main(["choose", target.uri, "--vram", "4"]) == 2
    assert "is in the manifest, but is missing" in capsys.readouterr().err
