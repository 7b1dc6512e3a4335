"""The kernels give ggml's bytes for any weights, importance, shape, thread count and row split."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
import torch
from byte_parity import assert_parity
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from weight_families import IMPORTANCE, WEIGHTS, make_importance, make_weights, oracle_differs

import ggufactory_kernels as gk
from ggufactory_kernels import cpu
from ggufactory_kernels.mismatch import first_mismatch

USABLE = [name for name, supported in cpu.INSTRUCTION_SETS.items() if supported]


@pytest.mark.parametrize("family", WEIGHTS)
def test_every_family_in_every_instruction_set(kernel_type: str, family: str) -> None:
    """With every kind of importance, where the type uses any. Of the cases in which the oracle's ggml is later than
    the pinned release, test_golden_blocks.py has recorded blocks."""
    columns = 3 * max(gk.TENSOR_TYPES[kernel_type].block, 32)
    x = make_weights(family, 1, 11, columns)
    for mode in IMPORTANCE if gk.TENSOR_TYPES[kernel_type].uses_importance else ("none", "random"):
        importance = make_importance(mode, 2, columns)
        if importance is None and gk.TENSOR_TYPES[kernel_type].needs_importance:
            with pytest.raises(ValueError, match=f"{kernel_type} needs an importance matrix"):
                gk.quantize(x, kernel_type)
        elif not oracle_differs(kernel_type, family, mode):
            wanted = oracle.quantize_unless_aborted(x, kernel_type, importance)
            for isa in USABLE:
                assert_parity(x, kernel_type, importance, wanted, label=f"importance {mode}", isa=isa)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_shape_thread_count_and_source(kernel_type: str, data: st.DataObject) -> None:
    modes = [mode for mode in IMPORTANCE if mode != "none" or not gk.TENSOR_TYPES[kernel_type].needs_importance]
    family, mode = data.draw(st.sampled_from(list(WEIGHTS))), data.draw(st.sampled_from(modes))
    assume(not oracle_differs(kernel_type, family, mode))
    columns = gk.TENSOR_TYPES[kernel_type].block * data.draw(st.integers(1, 9))
    rows, seed = data.draw(st.integers(1, 40)), data.draw(st.integers(0, 2**32 - 1))
    dtype = data.draw(st.sampled_from([torch.float32, torch.float16, torch.bfloat16]))
    x = torch.from_numpy(make_weights(family, seed, rows, columns)).to(dtype)
    x = torch.nan_to_num(x, posinf=1.0, neginf=-1.0)  # of the family that half precision cannot hold
    importance = make_importance(mode, seed, columns)
    wanted = oracle.quantize_unless_aborted(x.float().numpy(), kernel_type, importance)
    threads, isa = data.draw(st.integers(1, 5)), data.draw(st.sampled_from(USABLE))
    assert_parity(x, kernel_type, importance, wanted, threads=threads, isa=isa)


@pytest.mark.parametrize("type_", ["Q2_K", "Q4_K", "Q5_K"])
def test_a_sub_block_whose_scale_is_negative(type_: str) -> None:
    """In row 2: weights of some importance beside far larger ones of none. The byte of the scale wraps, and what
    becomes of it is another thing in each type."""
    x, importance = make_weights("spikes", 198786, 35, 256), make_importance("some_zero", 198786, 256)
    wanted = oracle.quantize_unless_aborted(x, type_, importance)
    for isa in USABLE:
        assert_parity(x, type_, importance, wanted, isa=isa)


def test_threads_and_row_splits_change_nothing(kernel_type: str) -> None:
    columns, rows = 2304, 100  # some four units of work
    x, importance = make_weights("normal", 5, rows, columns), make_importance("random", 6, columns)
    wanted = oracle.quantize(x, kernel_type, importance)
    for threads in (1, 2, 3, 8):
        assert_parity(x, kernel_type, importance, wanted, threads=threads)
    for start, stop in ((0, 1), (1, 18), (18, 100)):
        assert_parity(x[start:stop], kernel_type, importance, wanted[start:stop])


def test_denormals_survive_another_librarys_flush_to_zero(kernel_type: str, isa: str) -> None:
    columns = 4 * max(gk.TENSOR_TYPES[kernel_type].block, 64)
    for family in ("denormal", "scale_denormal", "least_denormals", "block_mix"):
        x, importance = make_weights(family, 3, 9, columns), make_importance("tiny", 4, columns)
        wanted = oracle.quantize(x, kernel_type, importance)
        assert torch.set_flush_denormal(True)
        try:
            packed = gk.quantize(x, kernel_type, importance, threads=2, isa=isa)
            still_flushing = float(np.float32(1e-41) * np.float32(0.5)) == 0
        finally:
            torch.set_flush_denormal(False)
        assert first_mismatch(wanted, packed, kernel_type, columns) is None, family
        assert still_flushing, "the caller's own setting comes back"


def test_mxfp4_exponents_are_those_of_log2f(isa: str) -> None:
    """Just below a power of two log2f() already gives the power's exponent, for 1 to 88 floats."""
    powers = np.array([2.0**exponent for exponent in range(-149, 128)], np.float32).view(np.uint32)
    bits = (powers[:, None] - np.arange(100, dtype=np.uint32)).reshape(-1)
    largest = bits[bits < 0x7F800000].view(np.float32)  # below 2^-149 the subtraction wraps
    x = np.zeros((largest.size, 32), np.float32)
    x[:, 0] = largest[::-1]
    wanted = oracle.quantize(x, "MXFP4")
    valid = wanted[:, 0] != 0xFF
    assert valid.sum() > 27000
    packed = gk.quantize(x[valid], "MXFP4", isa=isa)
    assert first_mismatch(wanted[valid], packed, "MXFP4", 32) is None
    with pytest.raises(ValueError, match=r"row 0, columns 0 to 31: .*wraps to no number"):
        gk.quantize(x[~valid], "MXFP4", isa=isa)
