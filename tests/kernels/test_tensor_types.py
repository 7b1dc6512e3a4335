"""The table of tensor types agrees with ggml's own and with the compiled kernels."""

from __future__ import annotations

import subprocess
import sys

import oracle
import pytest

from ggufactory_kernels import TENSOR_TYPES, _cpu, tensor_type
from ggufactory_kernels.mismatch import block_fields


@pytest.mark.parametrize("name", TENSOR_TYPES)
def test_every_row_is_ggmls(name: str) -> None:
    ggml, row = oracle.ggml(), TENSOR_TYPES[name]
    assert row.name == name == ggml.ggml_type_name(row.number).decode().upper()
    assert (row.block, row.block_bytes) == (ggml.ggml_blck_size(row.number), ggml.ggml_type_size(row.number))
    assert row.is_quantized == ggml.ggml_is_quantized(row.number)
    assert row.needs_importance == ggml.ggml_quantize_requires_imatrix(row.number)


def test_no_type_of_ggml_is_missing() -> None:
    ggml = oracle.ggml()
    count = 43  # GGML_TYPE_COUNT of the pinned release
    named = {n for n in range(count) if ggml.ggml_blck_size(n) > 0}
    activations_only = {9, 15}  # Q8_1, Q8_K
    assert {row.number for row in TENSOR_TYPES.values()} == named - activations_only


def test_compiled_kernels_have_the_tables_sizes() -> None:
    by_number = {row.number: row for row in TENSOR_TYPES.values()}
    for number, block, block_bytes in _cpu.kernel_types():
        assert (by_number[number].block, by_number[number].block_bytes) == (block, block_bytes)


@pytest.mark.parametrize("name", TENSOR_TYPES)
def test_the_fields_of_a_block_fill_it(name: str) -> None:
    assert sum(size for _, size in block_fields(TENSOR_TYPES[name])) == TENSOR_TYPES[name].block_bytes


def test_row_bytes_wants_whole_blocks() -> None:
    assert tensor_type("Q4_K").row_bytes(512) == 288
    for columns in (0, -256, 255):
        with pytest.raises(ValueError, match=f"multiples of 256 weights, found {columns}"):
            tensor_type("Q4_K").row_bytes(columns)


def test_an_unknown_type_is_told_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown tensor type 'Q4_X'; known: F32, .*NVFP4"):
        tensor_type("Q4_X")


def test_the_table_can_be_read_without_compiled_code_or_torch() -> None:
    program = (
        "import sys; from ggufactory_kernels import TENSOR_TYPES; "
        "assert not {'torch', 'ggufactory_kernels._cpu', 'ggufactory'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
