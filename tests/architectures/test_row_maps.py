"""Reorderings of rows give, for any range, the slice of the whole reordering."""

from __future__ import annotations

import pickle

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from ggufactory.architectures.row_maps import RopePermutation


def converters_permutation(rows: npt.NDArray[np.int64], heads: int) -> npt.NDArray[np.int64]:
    """`LlamaModel.permute` of the converter, as it is written there."""
    halves = rows.reshape(heads, 2, len(rows) // heads // 2)
    return halves.swapaxes(1, 2).reshape(rows.shape)


@given(heads=st.integers(1, 9), half=st.integers(1, 40), data=st.data())
def test_any_range_of_rows(heads: int, half: int, data: st.DataObject) -> None:
    rows = heads * half * 2
    start = data.draw(st.integers(0, rows))
    stop = data.draw(st.integers(start, rows))
    whole = converters_permutation(np.arange(rows), heads)
    got = RopePermutation(half * 2).source_rows(start, stop)
    assert got.dtype == np.int64
    assert np.array_equal(got, whole[start:stop])


@given(heads=st.integers(1, 9), half=st.integers(1, 40))
def test_the_one_row_of_a_bias(heads: int, half: int) -> None:
    rows = heads * half * 2
    got = RopePermutation(half * 2, pieces=rows).source_rows(0, 1)
    assert np.array_equal(got, converters_permutation(np.arange(rows), heads))


def test_a_map_travels_in_few_bytes() -> None:
    map_ = RopePermutation(128)
    sent = pickle.dumps(map_)
    assert pickle.loads(sent) == map_
    assert len(sent) < 200
