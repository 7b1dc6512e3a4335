"""Which rows are handed over as they are stored, and which are not."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from ggufactory.architectures.model import RowMap
from ggufactory.architectures.row_maps import EveryNth, RopePermutation
from ggufactory.checkpoint.packing.encoded_rows import ScaledBytes
from ggufactory.checkpoint.rows import SourceRows
from ggufactory.cluster.descriptor import PieceWork
from ggufactory.cluster.stage_clock import StageClock
from ggufactory.cluster.tile_reader import TileReader
from ggufactory.storage.protocol import Store
from packed_samples import Sample, fp8, fp8_blocks, fp8_scaled, gptq, int8_rows, scales
from packed_sources import PackedSource, packed_source


class _Counting:
    """The store of a packed checkpoint, whose reads are counted by `PackedSource.fetched`."""

    def __init__(self, packed: PackedSource) -> None:
        self._packed = packed

    def read_into(self, name: str, offset: int, buffer: memoryview, *, etag: str) -> None:
        self._packed._read_range(name, offset, buffer)


def _open(folder: Path, sample: Sample) -> tuple[PackedSource, SourceRows, TileReader]:
    packed = packed_source(folder, sample.tensors, sample.config)
    source = packed.tensors[sample.name].source
    assert source is not None
    etags = {name: info.etag for name, info in packed.checkpoint.files.items()}
    return packed, source, TileReader(cast("Store", _Counting(packed)), etags, StageClock())


def _piece(sources: tuple[SourceRows, ...], start: int, stop: int, row_map: RowMap | None = None) -> PieceWork:
    columns, skipped = sources[0].columns, 0
    return PieceWork("t", columns, start, stop, 1 << 20, "BF16", sources, skipped, row_map, None, None, False)


def test_rows_of_several_sources(tmp_path: Path) -> None:
    """Those of a stack, one after the other; the bytes that reading them as numbers takes."""
    _, source, reader = _open(tmp_path, fp8_blocks())
    piece = _piece((source, source.part(0, 20)), 60, 85)
    found = reader.read_encoded(piece, 2, 20)
    assert found is not None
    runs, fetched = found
    assert [run.rows for run in runs] == [8, 10]
    assert fetched == reader.read(piece, 2, 20, np.empty((18, 90), np.uint8))
    stored = [run.stored for run in runs]
    assert all(isinstance(some, ScaledBytes) for some in stored)
    weights = fp8_blocks().tensors["layers.0.w.weight"].view(torch.uint8).numpy()
    assert np.array_equal(stored[0].arrays[0], weights[62:])
    assert np.array_equal(stored[1].arrays[0], weights[:10])


def test_reordered_rows(tmp_path: Path) -> None:
    """Whole heads get an order; of parts of them, only the rows that are wanted are kept."""
    _, source, reader = _open(tmp_path, fp8_scaled((3, 11)))
    weights = fp8_scaled((3, 11)).tensors["layers.0.w.weight"].view(torch.uint8).numpy().reshape(33, 24)
    for start, stop, order, held in (
        (16, 24, [0, 4, 1, 5, 2, 6, 3, 7], list(range(16, 24))),
        (16, 20, None, [16, 20, 17, 21]),
    ):
        found = reader.read_encoded(_piece((source,), 0, 33, RopePermutation(8)), start, stop)
        assert found is not None
        ((run,), _) = found
        assert order == (None if run.order is None else run.order.tolist())
        assert np.array_equal(run.stored.arrays[0], weights[held])


def _a_scale_for_each_weight() -> Sample:
    weights, factors = fp8(6, 32), scales(6, 32)
    return Sample(
        {"layers.0.w.weight": weights, "layers.0.w.weight_scale_inv": factors},
        {"quant_method": "fp8", "weight_block_size": [1, 1]},
        weights.float() * factors,
        (6, 32),
    )


@pytest.mark.parametrize(
    ("sample", "sources", "row_map", "rows", "held"),
    [
        pytest.param(int8_rows(), 2, None, (0, 38), True, id="two sources"),
        pytest.param(int8_rows(), 2, RopePermutation(4), (0, 16), True, id="reordered"),
        pytest.param(int8_rows(), 2, RopePermutation(4), (16, 24), False, id="reordered over two sources"),
        pytest.param(int8_rows(), 2, EveryNth(2, 0), (0, 8), True, id="rows that lie apart"),
        pytest.param(gptq(8), 1, EveryNth(4, 0), (0, 20), False, id="words hold others"),
        pytest.param(_a_scale_for_each_weight(), 1, None, (0, 6), False, id="scales take more"),
    ],
)
def test_what_is_left_to_the_cpu(
    sample: Sample, sources: int, row_map: RowMap | None, rows: tuple[int, int], held: bool, tmp_path: Path
) -> None:
    """Nothing is read of it. What is held takes no more than the numbers do."""
    packed, source, reader = _open(tmp_path, sample)
    piece = _piece((source,) * sources, 0, source.rows * sources, row_map)
    before = packed.fetched
    found = reader.read_encoded(piece, *rows)
    assert (found is not None) == held
    if found is None:
        assert packed.fetched == before
    else:
        assert sum(array.nbytes for run in found[0] for array in run.arrays) <= (rows[1] - rows[0]) * 2 * piece.columns
