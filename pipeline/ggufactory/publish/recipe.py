"""A recipe in a compact form: each tensor type with the tensors that have it, layers as ranges.

`blk.[0-2,5].ffn_down.weight` stands for the tensor of the layers 0, 1, 2 and 5. A name that holds
brackets of its own stands for itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

_LAYER = re.compile(r"(?<=\.)(0|[1-9]\d{0,5})(?=\.)")
_RANGES = re.compile(r"\[(\d{1,6}(?:-\d{1,6})?(?:,\d{1,6}(?:-\d{1,6})?)*)\]")
MAX_TENSORS = 1 << 20


def compact(types: Mapping[str, str]) -> dict[str, list[str]]:
    """Tensor type -> patterns, from tensor name -> tensor type. Types and patterns are sorted."""
    layers: dict[tuple[str, str], list[int]] = {}
    patterns: dict[str, list[str]] = {}
    for name, kind in types.items():
        found = _LAYER.search(name)
        if found is None or "[" in name:
            patterns.setdefault(kind, []).append(name)
        else:
            layers.setdefault((kind, name[: found.start()] + "[]" + name[found.end() :]), []).append(int(found[0]))
    for (kind, pattern), numbers in layers.items():
        shown = str(numbers[0]) if len(numbers) == 1 else f"[{_ranges(sorted(numbers))}]"
        patterns.setdefault(kind, []).append(pattern.replace("[]", shown, 1))
    return {kind: sorted(patterns[kind]) for kind in sorted(patterns)}


def expand(recipe: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Tensor name -> tensor type: what `compact` was given. ValueError for more than `MAX_TENSORS`."""
    types: dict[str, str] = {}
    for kind, patterns in recipe.items():
        for pattern in patterns:
            for name in _names(pattern):
                types[name] = kind
                if len(types) > MAX_TENSORS:
                    raise ValueError(f"a recipe of more than {MAX_TENSORS:,} tensors")
    return types


def _ranges(numbers: list[int]) -> str:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _names(pattern: str) -> Iterator[str]:
    found = _RANGES.search(pattern)
    if found is None:
        yield pattern
        return
    for run in found[1].split(","):
        first, _, last = run.partition("-")
        for number in range(int(first), int(last or first) + 1):
            yield pattern[: found.start()] + str(number) + pattern[found.end() :]
