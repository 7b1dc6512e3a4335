"""Rows that are columns of what is stored: how many are read together."""

from __future__ import annotations

import pytest

from ggufactory.checkpoint.packing.awq import LAYOUT
from ggufactory.checkpoint.packing.column_ints import UNIT_BYTES, ColumnIntRows
from ggufactory.checkpoint.packing.stored_matrix import StoredMatrix


def matrix(rows: int, columns: int) -> ColumnIntRows:
    words = StoredMatrix("w", "f", 0, "I32", columns, rows // 8)
    scales = StoredMatrix("s", "f", 0, "F16", columns // 128, rows)
    return ColumnIntRows(words, words, scales, None, 128, LAYOUT, columns, rows)


def test_small_matrices_are_read_once() -> None:
    assert matrix(2048, 4096).unit == 2048


@pytest.mark.parametrize(("rows", "columns"), [(28672, 8192), (11008, 4096)])
def test_those_of_large_ones_are_bounded_and_even(rows: int, columns: int) -> None:
    unit, row_bytes = matrix(rows, columns).unit, columns * 4
    assert UNIT_BYTES / 2 < unit * row_bytes <= UNIT_BYTES + row_bytes
    units = -(-rows // unit)
    assert units == -(-rows * row_bytes // UNIT_BYTES)
    assert unit * units - rows < units


def test_one_row_is_the_least() -> None:
    assert matrix(8, 1 << 30).unit == 1


def test_a_part_has_a_unit_of_its_own() -> None:
    whole = matrix(28672, 8192)
    assert whole.part(100, 64).unit == 64
