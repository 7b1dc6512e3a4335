"""What the kernel tests share: golden blocks, the instruction sets of this machine, the oracle's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ggufactory_kernels import TENSOR_TYPES, cpu, quantizable

KERNEL_TYPES = [name for name in TENSOR_TYPES if quantizable(name)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`isa`: every instruction set of the build; `kernel_type`: every type that it quantizes to."""
    if "isa" in metafunc.fixturenames:
        sets = [
            pytest.param(name, marks=() if supported else pytest.mark.skip(reason=f"this machine lacks {name}"))
            for name, supported in cpu.INSTRUCTION_SETS.items()
        ]
        metafunc.parametrize("isa", sets)
    if "kernel_type" in metafunc.fixturenames:
        metafunc.parametrize("kernel_type", KERNEL_TYPES)


@pytest.fixture(scope="session")
def golden_blocks() -> Any:
    """llama.cpp's own bytes: "x/<family>", "w/<mode>" and "q/<type>/<family>/<mode>"."""
    return np.load(Path(__file__).parents[1] / "data" / "quants.npz")
