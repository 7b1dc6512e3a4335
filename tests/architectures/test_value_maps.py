"""Maps of numbers round as the converter's do: in half precision where the checkpoint is, else in single."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ggufactory.architectures.value_maps import VALUE_MAPS, in_precision

CONVERTERS = {"add_one": lambda held: held + 1, "negative_exponential": lambda held: -torch.exp(held)}
EVERY_HALF = np.arange(1 << 16, dtype=np.uint16).view(np.float16)


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32"])
@pytest.mark.parametrize("name", sorted(CONVERTERS))
def test_as_the_converter_computes_it(name: str, dtype: str) -> None:
    halves = EVERY_HALF[np.isfinite(EVERY_HALF)]
    held = torch.from_numpy(halves.copy())
    want = CONVERTERS[name](held if dtype == "F16" else held.float()).float().numpy()
    numbers = halves.astype(np.float32)
    VALUE_MAPS[in_precision(name, {dtype})](numbers)
    assert numbers.tobytes() == want.tobytes()
