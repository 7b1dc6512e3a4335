"""What is no fault of a request and yet worth telling: types that are not the ones that were named, options that
change nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from ggufactory.plan.importance import shown
from ggufactory.plan.ladder import Rung
from ggufactory.plan.recipe import Decision


def notes_of_types(rung: Rung, decisions: Mapping[str, Decision], plain: Mapping[str, Decision]) -> list[str]:
    """`plain`: what the rung's file type alone would decide."""
    forced: Counter[tuple[str, str]] = Counter()
    changed: dict[tuple[str, str], list[str]] = {}
    for name, decision in decisions.items():
        if decision.wanted:
            forced[decision.wanted, decision.type] += 1
        if decision.type != plain[name].type:
            changed.setdefault((plain[name].type, decision.type), []).append(name)
    return [
        f"{rung.name}: {n} tensors are {kind} instead of {wanted}, whose block does not divide their width"
        for (wanted, kind), n in sorted(forced.items())
    ] + [
        f"{rung.name}: by its options {len(names)} tensors are {kind} instead of {was}: {shown(names)}"
        for (was, kind), names in sorted(changed.items())
    ]


def notes_of_options(rungs: Iterable[Rung], tensors: Collection[str], entries: Collection[str]) -> list[str]:
    """Options that name nothing there is, each once. `entries`: of the importance matrix, empty without one.

    llama-quantize takes them in silence, and a mistyped expression is only seen in the finished files.
    """
    told: dict[str, None] = {}
    for rung in rungs:
        for pattern, kind in rung.options.tensor_types:
            if not any(re.search(pattern, name) for name in tensors):
                told[f"{pattern}={kind} is the type of no tensor: no name matches {pattern!r}"] = None
        for text in (*rung.options.include_importance, *rung.options.exclude_importance):
            if entries and not any(text in entry for entry in entries):
                told[f"no entry of the importance matrix holds {text!r}, which is to be included or excluded"] = None
    return list(told)
