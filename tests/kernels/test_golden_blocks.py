"""The kernels give the recorded bytes of llama.cpp, in every instruction set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from weight_families import BEYOND_ROUNDING_RANGE

import ggufactory_kernels as gk
from ggufactory_kernels.mismatch import first_mismatch


def test_quantizers_give_the_golden_blocks(golden_blocks: Any, kernel_type: str, isa: str) -> None:
    cases = [key for key in golden_blocks.files if key.startswith(f"q/{kernel_type}/")]
    assert bool(cases) == gk.TENSOR_TYPES[kernel_type].is_quantized
    for key in cases:
        _, _, family, mode = key.split("/")
        x = golden_blocks[f"x/{family}"]
        importance = None if mode == "none" else golden_blocks[f"w/{mode}"]
        packed = gk.quantize(x, kernel_type, importance, isa=isa)
        mismatch = first_mismatch(golden_blocks[key], packed, kernel_type, x.shape[1])
        assert mismatch is None, f"{family}, importance {mode}: {mismatch}"


def test_rounding_beyond_its_range_wraps_as_in_the_pinned_release(isa: str) -> None:
    """Rows whose least important weights lie so far out that nearest_int() wraps.

    Recorded from ggml 0.25.3 (GCC 12, -O3, x86-64), because the oracle's 0.26 clamps before it rounds.
    Some of them wrap in the search, the others where a sub-block keeps the search's quants.
    """
    recorded = np.load(Path(__file__).parent / "affine_beyond_rounding_range.npz")
    for type_ in BEYOND_ROUNDING_RANGE:
        for x, importance, wanted in zip(*(recorded[f"{part}/{type_}"] for part in "xwq"), strict=True):
            packed = gk.quantize(x.reshape(1, -1), type_, importance, isa=isa)
            mismatch = first_mismatch(wanted, packed, type_, x.size)
            assert mismatch is None, str(mismatch)
