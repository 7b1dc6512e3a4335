"""Rows handed over as they are stored are the rows that are read, whoever decodes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ggufactory.checkpoint.packing import column_ints
from ggufactory.checkpoint.packing.awq import LAYOUT
from ggufactory.checkpoint.packing.encoded_rows import ColumnInts, EncodedRows, EncodedSource, ScaledBytes
from ggufactory.checkpoint.packing.integers import unpack_columns, unpack_rows
from ggufactory.checkpoint.packing.number_types import BYTE_VALUES, Singles
from packed_samples import SAMPLES
from packed_sources import packed_source

ENCODED = [name for name in SAMPLES if name.startswith(("fp8", "int8", "gptq", "awq"))]


def _decoded(rows: EncodedRows) -> Singles:
    """By the definitions, a matrix at a time."""
    stored = rows.stored
    if isinstance(stored, ScaledBytes):
        factors = np.repeat(stored.scales, stored.block_columns, axis=1)[:, : stored.weights.shape[1]]
        numbers = BYTE_VALUES[stored.dtype][stored.weights] * factors[stored.scale_rows]
    else:
        numbers = _decoded_ints(stored)
    found: Singles = numbers if rows.order is None else numbers[rows.order]
    return found


def _decoded_ints(stored: ColumnInts) -> Singles:
    order = None if stored.along_inputs else LAYOUT.order
    integers = (
        unpack_rows(stored.weights, stored.bits)
        if stored.along_inputs
        else unpack_columns(stored.weights, stored.bits, order)
    )
    zeros = unpack_columns(stored.zeros, stored.bits, order)[:, : stored.rows] + stored.zero_offset
    found: Singles = ((integers - zeros[stored.groups]) * stored.scales[stored.groups]).T
    return found


@pytest.mark.parametrize("name", ENCODED)
def test_any_rows_are_those_that_are_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From anywhere in a block, a matrix of a stack, or a word; in the same reads."""
    monkeypatch.setattr(column_ints, "SLAB_BYTES", 200)
    sample = SAMPLES[name]()
    packed = packed_source(tmp_path, sample.tensors, sample.config)
    source = packed.tensors[sample.name].source
    assert source is not None
    whole = packed.singles(sample.name)

    @settings(max_examples=25, deadline=None)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        first = data.draw(st.integers(0, source.rows - 1))
        count = data.draw(st.integers(1, source.rows - first))
        start = data.draw(st.integers(0, count - 1))
        stop = data.draw(st.integers(start + 1, count))
        part = source.part(first, count)
        assert isinstance(part, EncodedSource)
        before = packed.fetched
        encoded = part.read_encoded(start, stop, packed._read_range)
        fetched = packed.fetched - before
        assert encoded.rows == stop - start
        assert np.array_equal(_decoded(encoded), whole[first + start : first + stop])
        assert sum(array.nbytes for array in encoded.arrays) <= part.encoded_bytes(start, stop, stop - start)
        packed.read(sample.name, start, stop, part=(first, count))
        assert packed.fetched - before == 2 * fetched
        taken = np.random.default_rng(0).permutation(stop - start)[data.draw(st.integers(0, stop - start - 1)) :]
        some = encoded.take(taken)
        assert some.rows == len(taken)
        assert np.array_equal(_decoded(some), whole[first + start : first + stop][taken])
        assert sum(array.nbytes for array in some.arrays) <= part.encoded_bytes(start, stop, len(taken))
        begin = len(taken) // 2
        assert np.array_equal(_decoded(some.part(begin, len(taken))), _decoded(some)[begin:])

    check()


@pytest.mark.parametrize("name", [name for name in SAMPLES if name not in ENCODED])
def test_others_are_read_as_numbers_or_blocks(name: str, tmp_path: Path) -> None:
    sample = SAMPLES[name]()
    source = packed_source(tmp_path, sample.tensors, sample.config).tensors[sample.name].source
    assert source is not None
    assert not isinstance(source, EncodedSource)
