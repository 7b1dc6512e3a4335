"""Vocabularies of kinds that no recorded checkpoint has, as llama.cpp's converter writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from recorded_vocabularies import CASES, written_rows


@pytest.mark.parametrize("name", CASES)
def test_as_the_converter_writes_it(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    got = written_rows(case, tmp_path)
    assert [key for key, _ in got] == [key for key, _ in case["expected"]]
    for (key, row), (_, wanted) in zip(got, case["expected"], strict=True):
        assert row == wanted, key
