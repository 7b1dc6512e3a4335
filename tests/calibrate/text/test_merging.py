"""Merging a text's parts between seams is merging the text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ggufactory.calibrate.text.merging import Seams, merged

_TEXTS = st.text("abc▁😀", max_size=30)
_SCORES = st.dictionaries(st.text("abc▁😀", min_size=2, max_size=4), st.integers(-3, 3), max_size=12)


@given(_TEXTS, _SCORES)
def test_cutting_at_seams_changes_nothing(text: str, scores: dict[str, int]) -> None:
    def order(left: str, right: str) -> int | None:
        return scores.get(left + right)

    parts = Seams(scores).cut(text)
    assert "".join(parts) == text
    assert [symbol for part in parts for symbol in merged(part, order)] == merged(text, order)


@given(_TEXTS, _SCORES)
def test_the_best_pair_is_merged_first(text: str, scores: dict[str, int]) -> None:
    symbols = list(text)
    while pairs := [
        (scores[symbols[at] + symbols[at + 1]], at)
        for at in range(len(symbols) - 1)
        if symbols[at] + symbols[at + 1] in scores
    ]:
        _, at = min(pairs)
        symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
    assert merged(text, lambda left, right: scores.get(left + right)) == symbols


def test_a_text_is_cut_where_no_token_reaches() -> None:
    assert Seams(["▁the", "he", "cat", "s"]).cut("▁the▁cats") == ["▁the", "▁", "cat", "s"]
    assert Seams([]).cut("ab") == ["a", "b"]
    assert Seams(["ab"]).cut("") == []
