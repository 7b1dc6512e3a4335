"""The compact form of a recipe says every tensor's type, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ggufactory.publish.recipe import compact, expand


def test_layers_become_ranges() -> None:
    types = {f"blk.{n}.ffn_down.weight": "Q6_K" if n in (0, 1, 2, 5) else "Q4_K" for n in range(8)}
    types["output.weight"] = "Q6_K"
    types["blk.7.ffn_norm.weight"] = "F32"
    assert compact(types) == {
        "F32": ["blk.7.ffn_norm.weight"],
        "Q4_K": ["blk.[3-4,6-7].ffn_down.weight"],
        "Q6_K": ["blk.[0-2,5].ffn_down.weight", "output.weight"],
    }


NAMES = st.one_of(
    st.tuples(st.sampled_from(["blk", "enc.blk"]), st.integers(0, 120), st.sampled_from(["a.weight", "b.2.bias"])).map(
        lambda parts: f"{parts[0]}.{parts[1]}.{parts[2]}"
    ),
    st.text(alphabet="ab.0129-,[]", min_size=1, max_size=12).filter(lambda name: "[" not in name),
)


@settings(deadline=None)
@given(st.dictionaries(NAMES, st.sampled_from(["F32", "Q4_K", "Q6_K"]), max_size=40))
def test_there_and_back(types: dict[str, str]) -> None:
    assert expand(compact(types)) == types


def test_a_range_that_never_ends_is_refused() -> None:
    with pytest.raises(ValueError, match="more than"):
        expand({"F32": [f"blk.[0-999999].{n}" for n in range(3)]})
