"""The errors of tensors as tables of kinds by layers, one for each rung, in one order for all rungs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_LAYER = re.compile(r"(?:^|\.)blk\.(0|[1-9]\d{0,5})\.", re.ASCII)
_ORDER = ("token_embd", "attn", "ssm", "shortconv", "ffn", "output")
"""As a model computes; what is none of these comes before the output."""
_MAX_RUNGS, _MAX_KINDS, _MAX_LAYERS = 64, 60, 1000


@dataclass(frozen=True, slots=True)
class ErrorMap:
    """`tables`: of each rung, float64 [kinds, layers], NaN where nothing was quantized. A kind that belongs to no
    layer has its error in all of them."""

    rungs: tuple[str, ...]
    kinds: tuple[str, ...]
    layers: tuple[int, ...]
    tables: npt.NDArray[np.float64]


def error_map(rungs: Sequence[tuple[str, Mapping[str, float]]]) -> ErrorMap | None:
    """Of the errors by tensor of each rung. Layers are those from the first to the last that has a tensor. None where
    there are no errors, or more rungs, kinds or layers than any model has."""
    places = {name: place_of_tensor(name) for _, errors in rungs for name in errors}
    found = [layer for layer, _ in places.values() if layer is not None]
    layers = range(min(found), max(found) + 1) if found else range(1)
    kinds = sorted({kind for _, kind in places.values()}, key=lambda kind: (_rank(kind), kind))
    if not kinds or len(rungs) > _MAX_RUNGS or len(kinds) > _MAX_KINDS or len(layers) > _MAX_LAYERS:
        return None
    row = {kind: number for number, kind in enumerate(kinds)}
    tables = np.full((len(rungs), len(kinds), len(layers)), np.nan)
    for table, (_, errors) in zip(tables, rungs, strict=True):
        for name, error in errors.items():
            layer, kind = places[name]
            table[row[kind], slice(None) if layer is None else layer - layers[0]] = error
    return ErrorMap(tuple(name for name, _ in rungs), tuple(kinds), tuple(layers), tables)


def place_of_tensor(name: str) -> tuple[int | None, str]:
    """The layer, None outside the layers, and the kind: `blk.3.attn_q.weight` is (3, "attn_q")."""
    found = _LAYER.search(name)
    if found is None:
        return None, name.removesuffix(".weight")
    before = name[: found.start()]
    kind = f"{before}.{name[found.end() :]}" if before else name[found.end() :]
    return int(found[1]), kind.removesuffix(".weight")


def _rank(kind: str) -> int:
    last = len(_ORDER)
    found = next((number for number, prefix in enumerate(_ORDER) if kind.startswith(prefix)), last - 1)
    return last if kind.startswith(_ORDER[-1]) else found
