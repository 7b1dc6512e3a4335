"""Described checkpoints against what llama.cpp's converter made of them: every key and every byte, in order."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from converted_rows import DATA, conversion, expected, metadata_rows, read_rows, tensor_rows
from ggufactory.architectures.model import Model
from ggufactory.architectures.options import ConversionOptions
from ggufactory.architectures.registry import describe
from ggufactory.checkpoint import open_checkpoint
from small_checkpoints import CHECKPOINTS, write_checkpoint
from small_decoders import DECODERS
from small_encoders import ENCODERS

RECORDED = sorted(path.parent.name for path in DATA.glob("*/checkpoint"))
SMALL = {name: checkpoint() for name, checkpoint in (DECODERS | ENCODERS).items()}


@pytest.fixture(params=[*RECORDED, *CHECKPOINTS, *SMALL])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(name: str, tmp_path: Path) -> Path:
    if name in RECORDED:
        return DATA / name / "checkpoint"
    if name in CHECKPOINTS:
        return write_checkpoint(name, tmp_path)
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    SMALL[name].write(folder)
    return folder


def described(name: str, folder: Path) -> Model:
    options = ConversionOptions(pre_tokenizer=SMALL[name].pre_tokenizer) if name in SMALL else conversion(name)
    return describe(open_checkpoint(str(folder)), options)


def test_metadata_is_the_converters(name: str, folder: Path) -> None:
    rows = metadata_rows(described(name, folder))
    want = list(expected(name)["kv"].items())
    assert [key for key, _ in rows] == [key for key, _ in want]
    for (key, got), (_, wanted) in zip(rows, want, strict=True):
        assert got == wanted, key


def test_tensors_are_the_converters(name: str, folder: Path) -> None:
    """In any order: the plan sorts them as llama-quantize does."""
    model = described(name, folder)
    assert sorted(tensor_rows(model, folder)) == sorted(expected(name)["tensors"])


def test_any_rows_are_the_same_rows_of_the_whole(name: str, folder: Path) -> None:
    model = described(name, folder)
    random = Random(name)
    for tensor in model.tensors:
        whole, _ = read_rows(tensor, folder, 0, tensor.rows)
        for _ in range(3):
            start = random.randrange(tensor.rows)
            stop = random.randint(start + 1, tensor.rows)
            part, _ = read_rows(tensor, folder, start, stop)
            assert part.tobytes() == whole[start:stop].tobytes(), (tensor.name, start, stop)
