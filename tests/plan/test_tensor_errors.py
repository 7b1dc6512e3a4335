"""The relative error of two sums."""

from __future__ import annotations

import math

import pytest

from ggufactory.plan.tensor_errors import relative_error


@pytest.mark.parametrize(
    ("error", "magnitude", "found"),
    [
        (0.0, 0.0, 0.0),  # a tensor of zeros
        (0.0, 3.0, 0.0),
        (1.0, 4.0, 0.5),
        (1.0, 9.0, 0.3333),
        (1e-300, 3.0, 5.774e-151),
        (1e-320, 0.0, None),
    ],
)
def test_four_digits(error: float, magnitude: float, found: float | None) -> None:
    assert relative_error(error, magnitude) == found
    assert found is None or math.isfinite(found)
