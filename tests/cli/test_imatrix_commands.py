"""`ggufactory imatrix`: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from ggufactory.calibrate.imatrix_file import read_imatrix_file
from ggufactory.calibrate.imatrix_gguf import encode_gguf
from ggufactory.calibrate.imatrix_statistics import compute_statistics
from ggufactory.calibrate.sums import ActivationSums, ImatrixFile
from ggufactory.cli import main
from ggufactory.observe import imatrix_tables
from synthetic import DATA

IMATRIX = DATA / "imatrix"
UNREACHED = str(IMATRIX / "unreached.imatrix.gguf")


def test_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["imatrix", "show", UNREACHED]) == 0
    said = capsys.readouterr().out
    lines = [line.split() for line in said.splitlines()]
    assert said.startswith("unreached.imatrix.gguf: 18 entries, 3 chunks of 128 tokens; text: a.txt, b.txt\n")
    row = ["1", "attn_k_b", "17.34", "0.0017", "3.8113", "1.08", "1.01", "100.00%", "16", "3.3756", "84.39%", "18.75%"]
    assert lines[2] == [*row, "0.7977"]
    assert ["-", "output"] in [line[:2] for line in lines]
    assert ["2", "69.24", "13.60%", "0.2629"] in lines
    experts = ["0", "ffn_down_exps,", "ffn_gate_exps,", "ffn_up_exps", "4", "1", "0", "95.5", "200"]
    assert [*experts, "2", "1", "(0),", "2", "(61)"] in lines
    assert "blk.3.ffn_up_exps.weight has no data" in said


def test_a_narrow_terminal_folds_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    read = read_imatrix_file(UNREACHED)
    imatrix_tables.print_statistics(Console(width=80), read, compute_statistics(read.content))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["layer", "tensor", "sum", "mean", "active", "of", "max", "ZD", "cosine"] in lines
    assert ["0", "ffn_gate_exps", "50.51", "0.70", "98.61%", "82.83%", "13.89%", "-"] in lines


def test_the_largest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["imatrix", "show", UNREACHED, "--top", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [of["entry"] for of in found["tensors"]] == [
        "blk.2.ffn_gate_exps.weight",
        "blk.2.ffn_up_exps.weight",
        "blk.0.ffn_gate_exps.weight",
    ]
    assert len(found["layers"]) == 4


def test_show_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["imatrix", "show", str(IMATRIX / "unreached.imatrix.dat"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["datasets"], found["chunk_count"], found["chunk_size"], found["entries"]) == (["b.txt"], 3, None, 17)
    assert len(found["tensors"]) == 17
    assert found["experts"] == []
    assert main(["imatrix", "show", UNREACHED, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["experts"][0] == {
        "entry": "blk.0.ffn_down_exps.weight",
        "matrices": 4,
        "unseen": [1],
        "thin": [[1, 0], [2, 61]],
        "fewest": 0,
        "median": 95.5,
        "most": 200,
    }
    assert found["empty"] == ["blk.3.ffn_up_exps.weight"]
    assert found["tensors"][0]["similarity"] == pytest.approx(0.7977, abs=5e-5)


def test_json_holds_finite_numbers_only(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    sums = ActivationSums(np.array([[3e38, 3e38]], np.float32), np.array([1]), True)
    (tmp_path / "m.gguf").write_bytes(encode_gguf(ImatrixFile((), 0, 1, {"a": sums})))
    assert main(["imatrix", "show", str(tmp_path / "m.gguf"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["tensors"][0]
    assert (found["sum"], found["mean"], found["most"]) == (None, None, pytest.approx(3e38))
    assert main(["imatrix", "show", str(tmp_path / "m.gguf"), "--plot", str(tmp_path / "m.svg")]) == 0


def test_show_and_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for suffix, start in ((".svg", b"<?xml"), (".png", b"\x89PNG")):
        plot = tmp_path / f"plot{suffix}"
        assert main(["imatrix", "show", UNREACHED, "--plot", str(plot), "--top", "1"]) == 0
        assert plot.read_bytes().startswith(start)
        assert "ffn_gate_exps" in capsys.readouterr().out


def test_merge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "m.gguf"
    files = [str(IMATRIX / f"tinylm-{source}.imatrix.gguf") for source in ("f32", "bf16")]
    assert main(["imatrix", "merge", *files, "--to", str(target)]) == 0
    said = capsys.readouterr().out
    assert f"{target}: 28 entries, 1,580 chunks of 128 tokens; 41.34 kB" in said
    assert "note" not in said
    assert main(["imatrix", "show", str(target)]) == 0


def test_convert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One file, the other suffix; over a file that is there."""
    target = tmp_path / "m.dat"
    target.write_bytes(b"older")
    assert main(["imatrix", "merge", UNREACHED, "--to", str(target)]) == 0
    assert target.read_bytes() == (IMATRIX / "unreached.imatrix.dat").read_bytes()
    assert "in 7 entries there are matrices (experts) that no token reached" in capsys.readouterr().out
    assert main(["imatrix", "merge", str(target), "--to", str(tmp_path / "m.gguf"), "--context", "128"]) == 0
    assert "17 entries, 4 chunks of 128 tokens" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["show", "nothing.gguf"], "there is no importance matrix file nothing.gguf"),
        (["show", str(DATA / "tinylm" / "config.json")], "Give a file that llama-imatrix"),
        (["show", UNREACHED, "--top", "0"], "--top 0: wanted 1 or more"),
        (["show", UNREACHED, "--plot", "out.jpg"], r"out.jpg: a plot is an .svg or a .png file"),
        (["show", UNREACHED, "--plot", "hf://org/name/out.png"], "hf://"),
        (["merge", UNREACHED, "--to", "out.bin"], "ends in .gguf or .dat"),
        (["merge", UNREACHED, "--to", "hf://org/name/out.gguf"], "hf://"),
        (["merge", UNREACHED, "--to", "out.gguf", "--context", "0"], "--context 0: wanted a number of tokens"),
        (["merge", UNREACHED, "--to", "out.gguf", "--context", str(1 << 31)], "--context 2147483648"),
        (
            ["merge", UNREACHED, str(IMATRIX / "deepseek_v3.imatrix.gguf"), "--to", "out.gguf"],
            "Merge files of one model",
        ),
    ],
)
def test_what_is_refused(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["imatrix", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("ggufactory: ")
    assert says in said
    assert list(tmp_path.iterdir()) == []
