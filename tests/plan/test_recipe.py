"""Every decision of llama-quantize --dry-run on ten models, with and without an importance matrix."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from ggufactory.plan.facts import facts_of
from ggufactory.plan.ftypes import ALIASES, FILE_TYPES, file_type
from ggufactory.plan.recipe import decide_types
from ggufactory.plan.roles import TensorFacts

RECIPES = sorted((Path(__file__).parents[1] / "data" / "recipes").glob("*.json"))


def _load(path: Path) -> tuple[list[TensorFacts], dict[str, int], dict[str, dict[str, str] | None], str]:
    recipe = json.loads(path.read_text())
    tensors = [TensorFacts(name, tuple(ne), kind) for name, ne, kind in recipe["tensors"]]
    return tensors, recipe["kv"], recipe["types"], recipe["architecture"]


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_equals_the_reference(path: Path) -> None:
    tensors, metadata, golden, architecture = _load(path)
    facts = facts_of(architecture, metadata)
    compared = 0
    for case, expected in golden.items():
        rung, _, imatrix = case.partition("+")
        decisions = decide_types(tensors, facts, file_type(rung), has_importance=bool(imatrix))
        if expected is None:
            lacking = not imatrix and any(d.needs_importance for d in decisions.values())
            assert lacking or any(d.refused for d in decisions.values()), case
            continue
        assert not any(d.refused for d in decisions.values()), case
        changed = {t.name: decisions[t.name].type for t in tensors if decisions[t.name].type != t.type}
        assert changed == expected, case
        compared += len(expected)
    assert compared > 1000


def test_is_independent_of_the_order_of_tensors() -> None:
    tensors, metadata, _, architecture = _load(next(p for p in RECIPES if p.stem == "llama_16l_gqa4"))
    facts = facts_of(architecture, metadata)
    expected = decide_types(tensors, facts, file_type("Q4_K_M"), has_importance=True)
    shuffled = list(tensors)
    random.Random(7).shuffle(shuffled)
    assert shuffled != tensors
    assert decide_types(shuffled, facts, file_type("Q4_K_M"), has_importance=True) == expected


def test_names_and_aliases() -> None:
    assert file_type("q4_k_m").number == 15
    for alias, name in ALIASES.items():
        assert file_type(alias) is FILE_TYPES[name]
