"""Rows of every kind of source: copied, converted, or refused as damaged."""

from __future__ import annotations

import numpy as np
import oracle
import pytest

from ggufactory.checkpoint.rows import StoredRows
from ggufactory.cluster.row_conversion import check_stored, convert_rows
from ggufactory.errors import InputError
from ggufactory_kernels import TENSOR_TYPES

COLUMNS = 512


def _weights(rows: int) -> np.ndarray:
    return np.random.default_rng(8).standard_normal((rows, COLUMNS)).astype(np.float32)


def _convert(rows: np.ndarray, source_type: str, type: str, importance: np.ndarray | None = None) -> np.ndarray:
    out = np.empty((len(rows), TENSOR_TYPES[type].row_bytes(COLUMNS)), np.uint8)
    convert_rows(rows, source_type, type, COLUMNS, out, importance)
    return out


@pytest.mark.parametrize("type", ["Q8_0", "IQ3_S", "I32", "F64"])
def test_the_same_type_is_copied(type: str) -> None:
    rows = np.random.default_rng(3).integers(0, 256, (3, TENSOR_TYPES[type].row_bytes(COLUMNS)), np.uint8)
    assert np.array_equal(_convert(rows, type, type), rows)


@pytest.mark.parametrize("source_type", ["Q8_0", "Q4_K"])
@pytest.mark.parametrize("type", ["Q6_K", "Q4_K", "Q8_0", "F16", "F32"])
def test_quantizing_again(source_type: str, type: str) -> None:
    """As llama-quantize: to single precision, then to the type, with the importance of the columns."""
    rows = oracle.quantize(_weights(5), source_type)
    importance = np.random.default_rng(9).chisquare(1, COLUMNS).astype(np.float32)
    made = _convert(rows, source_type, type, importance)
    if source_type == type:
        assert np.array_equal(made, rows)
    else:
        assert np.array_equal(made, oracle.quantize(oracle.dequantize(rows, source_type, COLUMNS), type, importance))


def test_a_damaged_block() -> None:
    rows = oracle.quantize(_weights(5), "Q8_0")
    source = StoredRows("blk.0.ffn_up.weight", "m.gguf", 0, "Q8_0", 40, COLUMNS)
    check_stored(rows, source, 7)
    rows[3, 2 * 34 + 1] = 0x7C
    with pytest.raises(InputError, match=r"m\.gguf: tensor blk\.0\.ffn_up\.weight, row 10, column 64: .*damaged"):
        check_stored(rows, source, 7)
