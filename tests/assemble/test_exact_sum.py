"""Sums whose order does not matter."""

from __future__ import annotations

import json
import math
import random

from ggufactory.assemble.exact_sum import ExactSum


def test_no_order_and_no_break_changes_the_sum() -> None:
    source = random.Random(5)
    terms = [source.uniform(0, 1) * 10 ** source.uniform(-30, 3) for _ in range(500)]
    wanted = math.fsum(terms)
    assert sum(terms) != wanted, "terms that any sum gets right would show nothing"
    for _ in range(5):
        source.shuffle(terms)
        found = ExactSum()
        for number, term in enumerate(terms):
            found.add(term)
            if number % 100 == 0:
                found = ExactSum(json.loads(json.dumps(found.terms)))
        assert found.value == wanted
        assert len(found.terms) < 10


def test_nothing_is_zero() -> None:
    assert ExactSum().value == 0.0
    found = ExactSum()
    found.add(0.0)
    assert found.value == 0.0
