"""Damaged weights in one shard: their spans are parked, all others and all other models are made, and a
corrected source finishes the model later."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from corruptions import read_header
from ggufactory.cli import main
from ggufactory.cluster import tasks
from ggufactory.publish.manifest import require
from ggufactory.publish.release import names_beside
from ggufactory.storage import open_store
from job_process import stored_parts

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "whole_files.json").read_text())["files"]["plain"]
TENSOR = "model.layers.1.mlp.up_proj.weight"

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("local_ray")]


@pytest.fixture
def source(tmp_path: Path, tinylm: str) -> Path:
    return Path(shutil.copytree(tinylm, tmp_path / "tinylm"))


def _poison(source: Path) -> Path:
    """One BF16 weight becomes no number; the shard as it was is kept beside the folder."""
    for path in source.glob("*.safetensors"):
        header = read_header(path)
        if TENSOR in header:
            kept = source.parent / path.name
            shutil.copy(path, kept)
            data = bytearray(path.read_bytes())
            at = 8 + int.from_bytes(data[:8], "little") + header[TENSOR]["data_offsets"][0] + 14
            data[at : at + 2] = b"\xc0\x7f"
            path.write_bytes(data)
            return kept
    raise AssertionError(TENSOR)


def _sync(capsys: pytest.CaptureFixture[str], catalog: Path, code: int) -> dict[str, dict[str, Any]]:
    capsys.readouterr()
    assert main(["sync", str(catalog), "--json"]) == code
    return {model["model"]: model for model in json.loads(capsys.readouterr().out)["models"]}


def test_are_parked_and_the_rest_is_made(
    source: Path, tmp_path: Path, tinylm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = _poison(source)
    target = tmp_path / "out"
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(
        f"target: {target}\nladder: [Q8_0, Q4_K_M]\nmodels:\n"
        f"  - {{source: {source}, name: bad, span_size: 200K, priority: 1}}\n"
        f"  - {{source: {tinylm}, name: good, ladder: [Q6_K]}}\n"
    )
    found = _sync(capsys, catalog, 3)
    assert found["good"]["state"] == "made"
    assert found["bad"]["exit_code"] == 3
    assert "1 tasks failed" in found["bad"]["message"]
    assert "tensor blk.1.ffn_up.weight, rows" in found["bad"]["message"]
    assert not list(target.glob("bad-*"))
    parts = stored_parts(str(target))

    assert main(["status", str(target), "--json"]) == 0
    (job,) = json.loads(capsys.readouterr().out)["jobs"]
    (span,) = job["parked"]
    assert "blk.1.ffn_up.weight" in job["parked"][span]
    assert job["parts_done"] == job["parts"] - 2 == sum(len(numbers) for numbers in parts.values())

    shutil.copy(kept, source / kept.name)
    assert _sync(capsys, catalog, 0)["bad"]["state"] == "made"
    for rung in ("Q8_0", "Q4_K_M"):
        data = (target / f"bad-{rung}.gguf").read_bytes()
        assert hashlib.sha256(data).hexdigest() == GOLDEN[rung]["sha256"]

    # What was made of the damaged source is of no use to anybody, and gc sees it.
    assert main(["gc", str(target), "--older-than", "0s", "--delete"]) == 0
    assert {info.name for info in open_store(str(target)).list()} == {
        *("bad-Q8_0.gguf", "bad-Q4_K_M.gguf", "good-Q6_K.gguf"),
        *names_beside(require(open_store(str(target)))),
    }


@pytest.mark.parametrize("slots", [1, 1000])
def test_quantize_says_so_too(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, slots: int
) -> None:
    """Also among the spans of one task, of which the others are made."""
    monkeypatch.setattr(tasks, "task_slots", lambda *_, **__: slots)
    _poison(source)
    target = str(tmp_path / "out")
    arguments = ["quantize", str(source), "--to", target, "--ladder", "Q8_0", "--span-size", "200K"]
    assert main(arguments) == 3
    assert "tensor blk.1.ffn_up.weight, rows" in capsys.readouterr().err
    done = stored_parts(target)
    assert main(arguments) == 3
    assert "left=1" in capsys.readouterr().err, "only the parked span is tried again"
    assert stored_parts(target) == done
