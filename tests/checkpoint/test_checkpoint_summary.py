"""The numbers that `ggufactory inspect` shows of a checkpoint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from corruptions import UNUSABLE
from ggufactory.checkpoint import open_checkpoint
from ggufactory.checkpoint.summary import Totals, summarize
from ggufactory.errors import InputError
from synthetic import DATA, write_safetensors_header

TINYLM = DATA / "tinylm"


def test_tinylm() -> None:
    checkpoint = open_checkpoint(str(TINYLM))
    summary = summarize(checkpoint, largest=3)
    index = json.loads((TINYLM / "model.safetensors.index.json").read_text())["metadata"]
    assert summary.name == "tinylm"
    assert summary.architectures == ("LlamaForCausalLM",)
    assert summary.files == 2
    assert summary.file_bytes == sum(path.stat().st_size for path in TINYLM.glob("*.safetensors"))
    assert summary.total == Totals(39, index["total_parameters"], index["total_size"])
    assert summary.dtypes == (("BF16", summary.total),)
    assert [tensor.name for tensor in summary.largest][:2] == ["lm_head.weight", "model.embed_tokens.weight"]


def test_dtypes_are_apart_and_sorted_by_bytes(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    for number, (dtype, count) in enumerate([("F32", 10), ("BF16", 100)], 1):
        path = tmp_path / f"model-{number:05d}-of-00002.safetensors"
        write_safetensors_header(path, [(f"{dtype}.weight", (count, 2))], dtype)
        size = path.stat().st_size + count * 2 * {"F32": 4, "BF16": 2}[dtype]
        with path.open("r+b") as file:
            file.truncate(size)
    summary = summarize(open_checkpoint(str(tmp_path)))
    assert summary.architectures == ()
    assert summary.dtypes == (("BF16", Totals(1, 200, 400)), ("F32", Totals(1, 20, 80)))
    assert summary.total == Totals(2, 220, 480)


@pytest.mark.parametrize("name", ["config not JSON", "config not an object", "architecture not a list"])
def test_a_bad_configuration_is_an_input_error(name: str, tmp_path: Path) -> None:
    shutil.copytree(TINYLM, tmp_path / "model")
    UNUSABLE[name](tmp_path / "model")
    with pytest.raises(InputError, match=r"config\.json"):
        summarize(open_checkpoint(str(tmp_path / "model")))
