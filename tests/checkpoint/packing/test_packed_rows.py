"""Every packing decodes to what was packed, whole and by any rows, and reads no more than it needs."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from ggufactory.checkpoint import open_checkpoint
from ggufactory.checkpoint.packing import column_ints, compressed_int, mxfp4, nvfp4, scaled_rows, unpacked
from packed_samples import SAMPLES, Sample
from packed_sources import PackedSource, packed_source, same_bits


@pytest.fixture(scope="module", params=SAMPLES)
def sample(request: pytest.FixtureRequest) -> Sample:
    return SAMPLES[request.param]()


@pytest.fixture(scope="module")
def source(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> PackedSource:
    plain = {"layers.0.norm.weight": torch.ones(4, dtype=torch.bfloat16)}
    return packed_source(tmp_path_factory.mktemp("packed"), {**sample.tensors, **plain}, sample.config)


@pytest.fixture(params=["whole", "in pieces"])
def work(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is, and with everything that bounds memory so small that these tensors take many turns."""
    if request.param == "in pieces":
        for module in (scaled_rows, mxfp4, nvfp4, column_ints):
            monkeypatch.setattr(module, "SLAB_BYTES", 200)
        monkeypatch.setattr(scaled_rows, "_CACHED_NUMBERS", 100)
        monkeypatch.setattr(compressed_int, "_DECODED_NUMBERS", 200)
        monkeypatch.setattr(column_ints, "_OUTPUTS_AT_ONCE", 24)
        monkeypatch.setattr(column_ints, "_INPUTS_AT_ONCE", 32)


def matches(found: np.ndarray, wanted: torch.Tensor) -> bool:
    if wanted.dtype == torch.uint8:
        return bool(np.array_equal(found, wanted.numpy().reshape(found.shape)))
    return same_bits(found.view(np.float32), wanted)


@pytest.mark.usefixtures("work")
def test_rows_are_what_was_packed(sample: Sample, source: PackedSource) -> None:
    tensor = source.tensors[sample.name]
    assert tensor.shape == sample.shape
    assert matches(source.read(sample.name), sample.wanted)


@pytest.mark.usefixtures("work")
def test_any_rows_are_those_of_the_whole(sample: Sample, source: PackedSource) -> None:
    rows = source.tensors[sample.name].rows
    whole = source.read(sample.name)

    @settings(max_examples=15, deadline=None)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        first = data.draw(st.integers(0, rows - 1))
        count = data.draw(st.integers(1, rows - first))
        start = data.draw(st.integers(0, count - 1))
        stop = data.draw(st.integers(start + 1, count))
        read = source.read(sample.name, start, stop, part=(first, count))
        assert np.array_equal(read, whole[first + start : first + stop])

    check()


def test_a_part_of_a_part_is_a_part(sample: Sample, source: PackedSource) -> None:
    tensor = source.tensors[sample.name].source
    assert tensor is not None
    part = tensor.part(2, 6).part(3, 2)
    assert (part.rows, part.columns, part.dtype, part.tensor) == (2, tensor.columns, tensor.dtype, tensor.tensor)
    assert part == tensor.part(5, 2)


def test_no_more_is_read_than_the_rows_and_their_scales(sample: Sample, source: PackedSource) -> None:
    rows = source.tensors[sample.name].rows
    before = source.fetched
    source.read(sample.name, rows - 3, rows)
    fetched = source.fetched - before
    if sample.row_bytes is not None:
        assert 3 * sample.row_bytes <= fetched <= 3 * sample.row_bytes + sample.shared_bytes
    else:
        assert fetched == sum(tensor.nbytes for tensor in sample.tensors.values())


def test_companions_are_taken_and_others_stay(sample: Sample, source: PackedSource) -> None:
    kept = {"layers.0.w.weight_scale_2", "layers.0.w.input_scale"} if "nvfp4" in str(sample.config).lower() else set()
    assert source.tensors.keys() == {sample.name, "layers.0.norm.weight"} | kept


def test_they_travel_to_workers(sample: Sample, source: PackedSource) -> None:
    tensor = source.tensors[sample.name]
    assert pickle.loads(pickle.dumps(tensor)) == tensor


def test_companions_may_lie_in_other_files(sample: Sample, tmp_path: Path) -> None:
    names = [f"model-{number}.safetensors" for number in range(len(sample.tensors))]
    for file, (name, tensor) in zip(names, sample.tensors.items(), strict=True):
        save_file({name: tensor.contiguous()}, tmp_path / file)
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    checkpoint = open_checkpoint(str(tmp_path))
    source = PackedSource(checkpoint, unpacked(checkpoint, {"quantization_config": sample.config}))
    assert matches(source.read(sample.name), sample.wanted)
