"""The promises of the layout, on tensors of every size."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ggufactory.plan.layout import RowCosts, cut
from ggufactory.storage.protocol import PartLimits

MIB = 1 << 20
FOLDER = PartLimits(min_part_bytes=1, max_part_bytes=1 << 40, max_parts=1 << 20)
S3 = PartLimits(min_part_bytes=5 * MIB, max_part_bytes=5 << 30, max_parts=10_000)

tensors = st.lists(
    st.builds(
        lambda rows, row, ratios: RowCosts(rows, row, tuple(max(row * r // 100, 1) for r in ratios)),
        st.integers(1, 5000),
        st.integers(1, 40_000),
        st.tuples(st.integers(10, 200), st.integers(10, 200)),
    ),
    min_size=1,
    max_size=30,
)


@given(tensors, st.integers(1, 64 * MIB), st.integers(1, 8 * MIB), st.integers(1, 400))
def test_every_row_once_in_order_and_no_part_too_small(
    tensors: list[RowCosts], wished: int, smallest: int, most: int
) -> None:
    limits = PartLimits(min_part_bytes=smallest, max_part_bytes=1 << 40, max_parts=most)
    spans = cut(tensors, limits, span_bytes=wished)
    rows = [(p.tensor, row) for span in spans for p in span for row in (p.start, p.stop)]
    expected_start = (0, 0)
    for start, stop in zip(rows[::2], rows[1::2], strict=True):
        assert start == expected_start
        assert stop[1] > start[1]
        expected_start = (stop[0] + 1, 0) if stop[1] == tensors[stop[0]].rows else stop
    assert expected_start == (len(tensors), 0)
    assert len(spans) <= most
    for span in spans[:-1]:
        for rung in range(2):
            assert sum((p.stop - p.start) * tensors[p.tensor].rung_rows[rung] for p in span) >= smallest


def test_a_small_model_still_spreads_over_workers() -> None:
    layer = [RowCosts(256, 512, (272, 144)), RowCosts(768, 512, (272, 144)), RowCosts(256, 1536, (816, 432))]
    model = [RowCosts(2048, 512, (272, 144)), *layer * 40]
    spans = cut(model, FOLDER)
    assert 20 <= len(spans) <= 64


def test_cuts_at_tensor_borders_where_that_costs_little() -> None:
    spans = cut([RowCosts(1000, 1000, (500,))] * 10, FOLDER, span_bytes=1_100_000)
    assert [[(p.tensor, p.start, p.stop) for p in span] for span in spans] == [[(i, 0, 1000)] for i in range(10)]


def test_a_tensor_larger_than_a_span_is_cut_evenly() -> None:
    spans = cut([RowCosts(1000, 1000, (500,))], FOLDER, span_bytes=300_000)
    assert [(p.start, p.stop) for (p,) in spans] == [(0, 334), (334, 667), (667, 1000)]


def test_the_smallest_rung_decides_the_span() -> None:
    """At a sixteenth of the source's size, 5 MiB of it are 80 MiB of source."""
    tensor = RowCosts(200_000, 16_384, (16_384, 1_024))
    spans = cut([tensor], S3)
    sizes = [sum(p.stop - p.start for p in span) * 1_024 for span in spans]
    assert min(sizes[:-1]) >= 5 * MIB
    assert max(sizes) < 12 * MIB
