"""Described checkpoints against what llama.cpp's converter made of them: every key and every byte, in order."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from converted_rows import DATA, conversion, expected, metadata_rows, read_rows, tensor_rows
from ggufactory.architectures.model import OutputTensor
from ggufactory.architectures.registry import describe
from ggufactory.checkpoint import open_checkpoint
from ggufactory.checkpoint.rows import StoredRows
from small_checkpoints import CHECKPOINTS, write_checkpoint

RECORDED = sorted(path.parent.name for path in DATA.glob("*/checkpoint"))


@pytest.fixture(params=[*RECORDED, *CHECKPOINTS])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(name: str, tmp_path: Path) -> Path:
    return DATA / name / "checkpoint" if name in RECORDED else write_checkpoint(name, tmp_path)


def test_metadata_is_the_converters(name: str, folder: Path) -> None:
    rows = metadata_rows(describe(open_checkpoint(str(folder)), conversion(name)))
    want = list(expected(name)["kv"].items())
    assert [key for key, _ in rows] == [key for key, _ in want]
    for (key, got), (_, wanted) in zip(rows, want, strict=True):
        assert got == wanted, key


def test_tensors_are_the_converters(name: str, folder: Path) -> None:
    """In any order: the plan sorts them as llama-quantize does."""
    model = describe(open_checkpoint(str(folder)), conversion(name))
    assert sorted(tensor_rows(model, folder)) == sorted(expected(name)["tensors"])


def test_any_rows_are_the_same_rows_of_the_whole(name: str, folder: Path) -> None:
    model = describe(open_checkpoint(str(folder)), conversion(name))
    random = Random(name)
    for tensor in model.tensors:
        whole, _ = read_rows(tensor, folder, 0, tensor.rows)
        for _ in range(3):
            start = random.randrange(tensor.rows)
            stop = random.randint(start + 1, tensor.rows)
            part, fetched = read_rows(tensor, folder, start, stop)
            assert part.tobytes() == whole[start:stop].tobytes(), (tensor.name, start, stop)
            if (most := _needed(tensor, start, stop)) is not None:
                assert fetched == most, (tensor.name, start, stop)


def _needed(tensor: OutputTensor, start: int, stop: int) -> int | None:
    """Bytes of the source rows that these output rows lie between; None where they are not stored as they are."""
    if not all(isinstance(source, StoredRows) for source in tensor.sources) or not tensor.sources:
        return None
    if tensor.row_map is not None:
        rows = tensor.row_map.source_rows(start, stop)
        start, stop = int(rows.min()), int(rows.max()) + 1
    needed = first = 0
    for source in tensor.sources:
        begin, end = max(start, first), min(stop, first + source.rows)
        needed += max(end - begin, 0) * source.row_bytes  # type: ignore[attr-defined]
        first += source.rows
    return needed
