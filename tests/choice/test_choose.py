"""The rung that is chosen: the nearest that fits, or a smaller one that is as near."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ggufactory.choice.choose import Candidate, Where, choose
from ggufactory.choice.guide import MEMORIES, guide
from ggufactory.choice.hyperparameters import from_json
from ggufactory.choice.need import GIB, KEPT_FREE, layers_that_fit, need_of
from measured_targets import HYPERPARAMETERS

MODEL = from_json(HYPERPARAMETERS)
assert MODEL is not None
CONTEXT = 8192
LARGE = Candidate("Q8_0", 8 * GIB, 8.5, 0.0003, 0.0001)
MIDDLE = Candidate("Q6_K", 6 * GIB, 6.6, 0.0015, 0.0002)
SMALL = Candidate("Q4_K_M", 5 * GIB, 4.8, 0.0090, 0.0004)
LADDER = (LARGE, MIDDLE, SMALL)


def chosen(*rungs: Candidate, vram: float = 0, ram: float = 0) -> str | None:
    found = choose(rungs, MODEL, CONTEXT, vram=int(vram * GIB), ram=int(ram * GIB))  # type: ignore[arg-type]
    return found.rung.name if found else None


@pytest.mark.parametrize(("vram", "wanted"), [(24, "Q8_0"), (10, "Q6_K"), (8, "Q4_K_M"), (6, None), (0.5, None)])
def test_the_nearest_that_fits(vram: float, wanted: str | None) -> None:
    assert chosen(*LADDER, vram=vram) == wanted


def test_files_context_buffers_and_a_rest_must_fit() -> None:
    exactly = need_of(SMALL.bytes, MODEL, CONTEXT).total + KEPT_FREE  # type: ignore[arg-type]
    assert chosen(SMALL, vram=exactly / GIB) == "Q4_K_M"
    assert chosen(SMALL, vram=(exactly - 1) / GIB) is None


def test_a_smaller_one_that_is_as_near_within_the_error() -> None:
    near = Candidate("Q5_K_M", 5 * GIB, 5.7, LARGE.divergence + 0.0001, 0.0001)  # type: ignore[operator]
    found = choose((LARGE, near), MODEL, CONTEXT, vram=80 * GIB)  # type: ignore[arg-type]
    assert found is not None
    assert (found.rung, found.larger) == (near, LARGE)
    further = Candidate("Q5_K_M", 5 * GIB, 5.7, 0.0006, 0.0001)
    assert chosen(LARGE, further, vram=80) == "Q8_0"


def test_of_equal_files_the_plain_one() -> None:
    mix = Candidate("MXFP4_MOE", LARGE.bytes, 8.5, LARGE.divergence, LARGE.error)
    assert chosen(mix, LARGE, vram=80) == chosen(LARGE, mix, vram=80) == "Q8_0"


def test_a_larger_one_that_is_worse_is_not_taken() -> None:
    assert chosen(Candidate("Q4_1", 7 * GIB, 7.0, 0.01, 0.0004), SMALL, vram=80) == "Q4_K_M"


def test_without_figures_the_most_bits_per_weight() -> None:
    plain = [Candidate(rung.name, rung.bytes, rung.bits_per_weight) for rung in LADDER]
    found = choose(plain, MODEL, CONTEXT, vram=24 * GIB)  # type: ignore[arg-type]
    assert found is not None
    assert (found.rung.name, found.measured) == ("Q8_0", False)
    assert chosen(*plain, vram=10) == "Q6_K"
    assert chosen(plain[0], SMALL, vram=80) == "Q4_K_M", "what was measured goes before what was not"


def test_ram_takes_what_the_gpu_does_not() -> None:
    found = choose(LADDER, MODEL, CONTEXT, vram=4 * GIB, ram=8 * GIB)  # type: ignore[arg-type]
    assert found is not None
    assert (found.rung.name, found.where) == ("Q8_0", Where.BOTH)
    assert 0 < found.gpu_layers < 33
    both = choose(LADDER, MODEL, CONTEXT, vram=8 * GIB, ram=64 * GIB)  # type: ignore[arg-type]
    assert both is not None
    assert (both.rung.name, both.where, both.gpu_layers) == ("Q4_K_M", Where.VRAM, 33), "all of it on the GPU is faster"
    alone = choose(LADDER, MODEL, CONTEXT, ram=16 * GIB)  # type: ignore[arg-type]
    assert alone is not None
    assert (alone.where, alone.gpu_layers) == (Where.RAM, 0)


def test_layers_that_fit() -> None:
    need = need_of(SMALL.bytes, MODEL, CONTEXT)  # type: ignore[arg-type]
    assert layers_that_fit(need, MODEL, need.total) == 33  # type: ignore[arg-type]
    assert layers_that_fit(need, MODEL, need.compute + (need.weights + need.cache) // 2) == 16  # type: ignore[arg-type]
    assert layers_that_fit(need, MODEL, 0) == 0  # type: ignore[arg-type]


@given(
    st.lists(
        st.builds(
            Candidate,
            st.sampled_from(["a", "b", "c"]),
            st.integers(0, 100 * GIB),
            st.floats(1, 16),
            st.none() | st.floats(0, 5),
            st.floats(0, 0.1),
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 100),
)
def test_what_is_chosen_fits_and_nothing_that_fits_is_nearer_by_more_than_its_error(
    rungs: list[Candidate], memory: int
) -> None:
    found = choose(rungs, MODEL, CONTEXT, vram=memory * GIB)  # type: ignore[arg-type]
    fitting = [rung for rung in rungs if need_of(rung.bytes, MODEL, CONTEXT).total <= (memory - 1) * GIB]  # type: ignore[arg-type]
    assert (found is None) == (not fitting)
    if found is not None:
        assert found.rung in fitting
        measured = [rung for rung in fitting if rung.divergence is not None]
        assert (found.rung.divergence is None) == (not measured)
        for rung in measured:
            assert found.rung.divergence is not None
            assert rung.divergence is not None
            assert found.rung.divergence - rung.divergence <= rung.error + found.rung.error


def test_the_guide_has_a_row_for_each_change() -> None:
    rows = guide(LADDER, MODEL, CONTEXT)  # type: ignore[arg-type]
    assert [(memory, choice.rung.name) for memory, choice in rows] == [(8, "Q4_K_M"), (12, "Q8_0")]
    assert guide([Candidate("BF16", 2000 * GIB, 16)], MODEL, CONTEXT) == []  # type: ignore[arg-type]
    tiny = guide([Candidate("BF16", GIB, 16)], MODEL, CONTEXT)  # type: ignore[arg-type]
    assert [memory for memory, _ in tiny] == [MEMORIES[0]]
