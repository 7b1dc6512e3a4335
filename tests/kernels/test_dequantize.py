"""dequantize() gives the floats of ggml's dequantize_row_*, for any bytes, and refuses wrong arguments."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import oracle
import pytest
import torch
from weight_families import WEIGHTS, make_importance, make_weights

import ggufactory_kernels as gk
from ggufactory_kernels import cpu

PACKED = gk.quantize(make_weights("normal", 0, 3, 512), "Q4_K")


def same_floats(wanted: npt.NDArray[np.float32], found: npt.NDArray[np.float32]) -> None:
    """Equal bit for bit, but for the payload of NaNs, which no file that passes validation holds."""
    numbers = ~np.isnan(wanted)
    assert np.array_equal(numbers, ~np.isnan(found))
    assert np.array_equal(wanted.view(np.uint32)[numbers], found.view(np.uint32)[numbers])


def expected(packed: npt.NDArray[np.uint8], type_: str, columns: int) -> npt.NDArray[np.float32]:
    return packed.view(np.float32) if type_ == "F32" else oracle.dequantize(packed, type_, columns)


def test_any_bytes_give_ggmls_floats(kernel_type: str, isa: str) -> None:
    layout = gk.TENSOR_TYPES[kernel_type]
    columns = 4 * max(layout.block, 64)
    packed = np.random.default_rng(7).integers(0, 256, (300, layout.row_bytes(columns)), np.uint8)
    same_floats(expected(packed, kernel_type, columns), gk.dequantize(packed, kernel_type, columns, isa=isa))


def test_golden_blocks_give_ggmls_floats(golden_blocks: Any, kernel_type: str) -> None:
    for key in golden_blocks.files:
        if key.startswith(f"q/{kernel_type}/"):
            packed = golden_blocks[key].reshape(8, -1)
            found = gk.dequantize(packed, kernel_type, 768)
            assert np.isfinite(found).all()
            same_floats(oracle.dequantize(packed, kernel_type, 768), found)


def test_every_scale_byte_of_the_four_bit_floats() -> None:
    """Each of the 256 exponents, E8M0 and UE4M3, times each of the sixteen values."""
    for type_, columns, scales in (("MXFP4", 32, 1), ("NVFP4", 64, 4)):
        packed = np.empty((256, gk.TENSOR_TYPES[type_].block_bytes), np.uint8)
        packed[:, :scales] = np.arange(256, dtype=np.uint8)[:, None]
        packed[:, scales:] = np.resize(np.arange(16, dtype=np.uint8) * 17, packed.shape[1] - scales)
        same_floats(oracle.dequantize(packed, type_, columns), gk.dequantize(packed, type_, columns))


def test_threads_and_row_splits_change_nothing(kernel_type: str) -> None:
    columns = 2304
    importance = make_importance("random", 2, columns)
    packed = gk.quantize(make_weights("heavy_tail", 1, 90, columns), kernel_type, importance)
    wanted = expected(packed, kernel_type, columns)
    for threads in (1, 2, 5):
        same_floats(wanted, gk.dequantize(packed, kernel_type, columns, threads))
    same_floats(wanted[17:40], gk.dequantize(packed[17:40], kernel_type, columns))


def test_denormals_survive_another_librarys_flush_to_zero(kernel_type: str, isa: str) -> None:
    columns = 4 * max(gk.TENSOR_TYPES[kernel_type].block, 64)
    family = "denormal" if kernel_type in ("F32", "BF16") else "tiny"  # a half's own denormals
    assert family in WEIGHTS
    packed = gk.quantize(make_weights(family, 3, 5, columns), kernel_type, make_importance("ones", 0, columns))
    wanted = expected(packed, kernel_type, columns)
    assert torch.set_flush_denormal(True)
    try:
        found = gk.dequantize(packed, kernel_type, columns, threads=2, isa=isa)
    finally:
        torch.set_flush_denormal(False)
    same_floats(wanted, found)


def test_torch_in_torch_out() -> None:
    wanted = gk.dequantize(PACKED, "Q4_K", 512)
    assert wanted.dtype == np.float32
    found = gk.dequantize(torch.from_numpy(PACKED), "Q4_K", 512)
    assert isinstance(found, torch.Tensor)
    assert np.array_equal(found.numpy(), wanted)
    spread = np.repeat(PACKED, 2, axis=1)[:, ::2]
    assert np.array_equal(gk.dequantize(spread, "Q4_K", 512), wanted)
    assert gk.dequantize(PACKED[:0], "Q4_K", 512).shape == (0, 512)


@pytest.mark.parametrize(
    ("packed", "options", "error", "message"),
    [
        (PACKED, {"type": "Q4_X", "columns": 512}, ValueError, "unknown tensor type 'Q4_X'"),
        (PACKED, {"type": "I32", "columns": 72}, ValueError, "cannot dequantize I32; it can F32, "),
        (PACKED, {"type": "Q4_K", "columns": 500}, ValueError, "multiples of 256 weights, found 500"),
        (PACKED, {"type": "Q4_K", "columns": 256}, ValueError, "shape [rows, 144], found [3, 288]"),
        (PACKED[0], {"type": "Q4_K", "columns": 512}, ValueError, "shape [rows, 288], found [288]"),
        (PACKED.view(np.int8), {"type": "Q4_K", "columns": 512}, TypeError, "uint8, found int8"),
        (PACKED.tobytes(), {"type": "Q4_K", "columns": 512}, TypeError, "torch tensor, found bytes"),
        (PACKED, {"type": "Q4_K", "columns": 512, "threads": 0}, ValueError, "at least 1, found 0"),
        (PACKED, {"type": "Q4_K", "columns": 512, "isa": "avx9"}, ValueError, "'avx9' is not available"),
    ],
)
def test_wrong_arguments_are_refused(
    packed: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        gk.dequantize(packed, **options)


def test_every_quantizable_type_can_be_dequantized() -> None:
    assert {name for name, type_ in gk.TENSOR_TYPES.items() if type_.is_quantized} < set(cpu.KERNEL_TYPES)
