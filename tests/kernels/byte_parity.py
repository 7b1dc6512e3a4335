"""What the parity tests demand: ggml's bytes, or a refusal where ggml aborts or llama-quantize would refuse."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import oracle

import ggufactory_kernels as gk
from ggufactory_kernels.mismatch import first_mismatch

REFUSED = r"not finite in half|wraps to no number|too large"
LEFT_THE_GRID = r"not finite in half|left its grid"


def expected_refusal(wanted: npt.NDArray[np.uint8] | None, type: str) -> str | None:
    """What our refusal says, where ggml aborts (None) or llama-quantize would refuse its bytes."""
    if wanted is None:
        return LEFT_THE_GRID
    return None if oracle.is_valid(wanted, type) else REFUSED


def assert_parity(
    x: Any, type: str, importance: Any, wanted: npt.NDArray[np.uint8] | None, *, label: str = "", **options: Any
) -> None:
    """Our bytes are `wanted`; or, where there are none or llama-quantize would refuse those, we raise. `label`: of
    the case, where a test has several."""
    refusal = expected_refusal(wanted, type)
    if refusal is not None:
        said = ""
        try:
            gk.quantize(x, type, importance, **options)
        except ValueError as error:
            said = str(error)
        assert re.search(refusal, said), f"{label}, {options}: wanted a refusal, found {said or 'none'}"
        return
    assert wanted is not None
    packed = np.asarray(gk.quantize(x, type, importance, **options))
    mismatch = first_mismatch(wanted, packed, type, x.shape[1])
    assert mismatch is None, f"{label}, {options}: {mismatch}"
