"""The long run: many seeds of every family of weights and importance, each type in each instruction set.

`make parity` runs it, with the golden blocks, in some minutes; ordinary runs take the samples of
test_oracle_parity.py.
"""

from __future__ import annotations

import oracle
import pytest
from byte_parity import assert_parity, expected_refusal
from weight_families import IMPORTANCE, WEIGHTS, make_importance, make_weights, oracle_differs

import ggufactory_kernels as gk
from ggufactory_kernels import cpu

USABLE = [name for name, supported in cpu.INSTRUCTION_SETS.items() if supported]


@pytest.mark.parity
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(100, 104))
def test_many_seeds_of_every_family(kernel_type: str, seed: int) -> None:
    layout = gk.TENSOR_TYPES[kernel_type]
    columns = 2 * max(layout.block, 64)
    for family in WEIGHTS:
        for mode in IMPORTANCE:
            importance = make_importance(mode, seed, columns)
            if oracle_differs(kernel_type, family, mode) or (importance is None and layout.needs_importance):
                continue
            x = make_weights(family, seed, 21, columns)
            wanted = oracle.quantize_unless_aborted(x, kernel_type, importance)
            # Of rows of which one is refused, the others are compared one by one.
            together = expected_refusal(wanted, kernel_type) is None
            for rows in [x] if together else [x[i : i + 1] for i in range(len(x))]:
                wanted = oracle.quantize_unless_aborted(rows, kernel_type, importance)
                for isa in USABLE:
                    assert_parity(rows, kernel_type, importance, wanted, isa=isa)
