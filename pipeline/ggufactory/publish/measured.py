"""What was measured of the rungs that a manifest lists. Only what can be meant: manifests are read from anywhere."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ggufactory.choice.choose import Candidate
from ggufactory.choice.hyperparameters import Hyperparameters, from_json
from ggufactory.evaluate.arithmetic import AS_LLAMA_CPP
from ggufactory.publish.recipe import expand
from ggufactory.publish.rungs import IMATRIX, MadeRung, made_rungs

NEEDED = ("perplexity", "perplexity_error", "kld_mean", "kld_99", "same_top", "reference_perplexity")
"""Without these, the others of a rung are not told either."""
_MOST_ERRORS = 1 << 17
"""Of one rung: GGUF files have no more tensors."""
_MOST = 1e12


@dataclass(frozen=True, slots=True)
class MeasuredRung:
    """A rung with what is known of it."""

    made: MadeRung
    quality: Mapping[str, float] | None
    """By the names of `Quality`; at least `NEEDED`."""
    how: Mapping[str, Any]
    """What the quality was measured on: `texts`, `context`, `chunks`, `compute_dtype`, `activations`."""
    errors: Mapping[str, float]
    """Relative error of each tensor that was quantized, by name."""

    @property
    def arithmetic(self) -> str:
        """Words for a way to compute that the figures are not told apart from without: empty, or after a comma."""
        rounded = self.how.get("activations") == AS_LLAMA_CPP
        return ", activations rounded to eight bits as llama.cpp's CPU does" if rounded else ""


@dataclass(frozen=True, slots=True)
class MeasuredModel:
    """The rungs of one model, the largest first."""

    name: str
    rungs: tuple[MeasuredRung, ...]

    @property
    def evaluated(self) -> list[MeasuredRung]:
        """Those that have a quality."""
        return [rung for rung in self.rungs if rung.quality is not None]

    @property
    def with_errors(self) -> list[MeasuredRung]:
        return [rung for rung in self.rungs if rung.errors]

    @property
    def has_figures(self) -> bool:
        return bool(self.evaluated or self.with_errors)

    @property
    def hyperparameters(self) -> Hyperparameters | None:
        """As the first rung that has them says; None in manifests of earlier releases."""
        found = (from_json(rung.made.files[0].get("hyperparameters")) for rung in self.rungs)
        return next((hyper for hyper in found if hyper is not None), None)

    def candidates(self) -> list[Candidate]:
        """To choose from. Divergences of different texts or contexts cannot be compared: those that most rungs were
        measured by count, and the others as not measured."""
        counts = Counter(_key(rung.how) for rung in self.evaluated)
        usual = counts.most_common(1)[0][0] if counts else ""
        found = []
        for rung in self.rungs:
            plain = Candidate(rung.made.rung, rung.made.bytes, rung.made.bits_per_weight)
            if rung.quality is not None and _key(rung.how) == usual:
                error = max(rung.quality.get("kld_error", 0.0), 0.0)
                plain = Candidate(plain.name, plain.bytes, plain.bits_per_weight, rung.quality["kld_mean"], error)
            found.append(plain)
        return found


def measured_models(rungs: Sequence[MadeRung]) -> list[MeasuredModel]:
    """By name; importance matrices are left out. `rungs`: as `made_rungs` has them."""
    found: dict[str, list[MeasuredRung]] = {}
    for made in rungs:
        if made.rung != IMATRIX:
            found.setdefault(made.name, []).append(_measured(made))
    return [MeasuredModel(name, tuple(of)) for name, of in found.items()]


def models_of(entries: Mapping[str, Any]) -> list[MeasuredModel]:
    """Of a manifest's entries."""
    return measured_models(made_rungs(entries.values()))


def types_of(rung: MadeRung) -> dict[str, str]:
    """Tensor name -> tensor type, as the recipes say; empty where they cannot be meant."""
    types: dict[str, str] = {}
    for entry in rung.files:
        recipe = entry.get("recipe")
        if isinstance(recipe, dict) and all(_is_texts(patterns) for patterns in recipe.values()):
            try:
                types |= expand(recipe)
            except ValueError:
                return {}
    return types


def _measured(made: MadeRung) -> MeasuredRung:
    found = made.files[0].get("quality")
    quality = None
    how: dict[str, Any] = {}
    if isinstance(found, dict):
        numbers = {str(name): float(value) for name, value in found.items() if _is_number(value)}
        if all(name in numbers for name in NEEDED):
            quality = numbers
            how = {name: found.get(name) for name in ("texts", "context", "chunks", "compute_dtype", "activations")}
    errors: dict[str, float] = {}
    for entry in made.files:
        told = entry.get("errors")
        if isinstance(told, dict) and len(told) <= _MOST_ERRORS:
            errors |= {name: float(error) for name, error in told.items() if _is_number(error) and error >= 0}
    return MeasuredRung(made, quality, how, dict(sorted(errors.items())))


def _is_number(value: object) -> bool:
    """Not larger than any figure of a model."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MOST


def _is_texts(patterns: object) -> bool:
    return isinstance(patterns, list) and all(isinstance(pattern, str) for pattern in patterns)


def _key(how: Mapping[str, Any]) -> str:
    return json.dumps(how, sort_keys=True, default=str)
