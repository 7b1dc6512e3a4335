"""The numbers beside NVFP4 tensors: under one name, inverted where they are stored so, left out where they are one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ggufactory.checkpoint.packing import read_scalars
from ggufactory.checkpoint.packing.nvfp4 import scale_values
from packed_samples import nvfp4
from packed_sources import packed_source

SCALE, INPUT = "layers.0.w.weight_scale_2", "layers.0.w.input_scale"


def test_modelopts_are_as_stored(tmp_path: Path) -> None:
    sample = nvfp4()
    source = packed_source(tmp_path, sample.tensors, sample.config)
    assert read_scalars(source.checkpoint, [source.tensors[SCALE], source.tensors[INPUT]]) == {SCALE: 0.75, INPUT: 3.0}


def test_those_of_compressed_tensors_are_inverted(tmp_path: Path) -> None:
    sample = nvfp4("compressed-tensors")
    source = packed_source(tmp_path, sample.tensors, sample.config)
    found = read_scalars(source.checkpoint, [source.tensors[SCALE], source.tensors[INPUT]])
    assert found == {SCALE: float(np.float32(1) / np.float32(0.75)), INPUT: float(np.float32(1) / np.float32(3))}


def test_an_inverse_of_zero_is_infinite(tmp_path: Path) -> None:
    sample = nvfp4("compressed-tensors")
    tensors = {**sample.tensors, "layers.0.w.input_global_scale": torch.zeros(1)}
    source = packed_source(tmp_path, tensors, sample.config)
    assert read_scalars(source.checkpoint, [source.tensors[INPUT]]) == {INPUT: float("inf")}


def test_many_are_read_in_few_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors: dict[str, torch.Tensor] = {}
    for number in range(200):
        sample = nvfp4()
        tensors |= {name.replace("layers.0", f"layers.{number}"): t for name, t in sample.tensors.items()}
        tensors[f"layers.{number}.{SCALE[9:]}"] = torch.tensor([number + 0.5])
    source = packed_source(tmp_path, tensors, sample.config)
    requests: list[str] = []
    store = source.checkpoint.store
    read_into = store.read_into

    def counted(name: str, offset: int, buffer: memoryview, *, etag: str | None = None) -> None:
        requests.append(name)
        read_into(name, offset, buffer, etag=etag)

    monkeypatch.setattr(store, "read_into", counted)
    names = [f"layers.{number}.{SCALE[9:]}" for number in range(200)]
    found = read_scalars(source.checkpoint, [source.tensors[name] for name in names])
    assert found == {name: number + 0.5 for number, name in enumerate(names)}
    assert len(requests) == 1


@pytest.mark.parametrize("scale", [1.0, 1.0 + 5e-7, None])
def test_one_is_left_out(scale: float | None) -> None:
    assert scale_values([scale], stacked=False) is None
    assert scale_values([scale] * 3, stacked=True) is None


def test_others_are_data() -> None:
    assert scale_values([0.5], stacked=False) == np.float32(0.5).tobytes()
    assert scale_values([None, 0.5], stacked=True) == np.array([1, 0.5], np.float32).tobytes()


def test_tolerances_are_the_references() -> None:
    """Of a stack relative ones too, as `numpy.allclose` has them."""
    assert scale_values([1 + 5e-6], stacked=False) is not None
    assert scale_values([1 + 5e-6], stacked=True) is None
    assert scale_values([1 + 2e-5], stacked=True) is not None
