"""The rung to take for a memory: of those that fit, the nearest to the source, and the smallest that is as near."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ggufactory.choice.hyperparameters import Hyperparameters
from ggufactory.choice.need import KEPT_FREE, Need, layers_that_fit, need_of


@dataclass(frozen=True, slots=True)
class Candidate:
    """A rung. `divergence` and `error` (one standard error) in nats; None where it was not measured, or not as the
    others were."""

    name: str
    bytes: int
    bits_per_weight: float
    divergence: float | None = None
    error: float = 0.0


class Where(StrEnum):
    """What a rung runs in."""

    VRAM = "VRAM"
    RAM = "RAM"
    BOTH = "VRAM and RAM"


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, and what that followed from."""

    rung: Candidate
    need: Need
    where: Where
    memory: int
    """Bytes that it may take."""
    gpu_layers: int
    """Of the model's layers and its head, on the GPU."""
    fitting: int
    """Rungs that fit."""
    measured: bool
    """Whether the divergence decided, and not the bits per weight."""
    larger: Candidate | None
    """One that fits too, whose divergence is not lower by more than its error."""


def choose(
    rungs: Sequence[Candidate], model: Hyperparameters, context: int, *, vram: int = 0, ram: int = 0
) -> Choice | None:
    """For memories of so many bytes. A rung that fits into the VRAM is preferred to a better one that needs the RAM
    as well. None where nothing fits."""
    for where, memory in _memories(vram, ram):
        fitting = [rung for rung in rungs if need_of(rung.bytes, model, context).total <= memory]
        if fitting:
            return _choice(fitting, model, context, where, memory, max(vram - KEPT_FREE, 0))
    return None


def smallest(rungs: Sequence[Candidate]) -> Candidate:
    """Of at least one."""
    return min(rungs, key=lambda rung: rung.bytes)


def _memories(vram: int, ram: int) -> list[tuple[Where, int]]:
    """What may be used of each, the fastest first."""
    fast, slow = max(vram - KEPT_FREE, 0), max(ram - KEPT_FREE, 0)
    found = [(Where.VRAM, fast)] if vram else []
    return [*found, (Where.BOTH if vram else Where.RAM, fast + slow)] if ram else found


def _choice(
    fitting: Sequence[Candidate], model: Hyperparameters, context: int, where: Where, memory: int, vram: int
) -> Choice:
    measured = [rung for rung in fitting if rung.divergence is not None]
    best = min(measured, key=_divergence) if measured else max(fitting, key=lambda rung: rung.bits_per_weight)
    # The mix of a mixture's experts is Q8_0 on a dense model, under a longer name.
    taken = min((r for r in measured if _as_near(r, best)), key=lambda r: (r.bytes, len(r.name)), default=best)
    need = need_of(taken.bytes, model, context)
    layers = {Where.VRAM: model.layers + 1, Where.RAM: 0, Where.BOTH: layers_that_fit(need, model, vram)}
    larger = best if taken.bytes < best.bytes else None
    return Choice(taken, need, where, memory, layers[where], len(fitting), bool(measured), larger)


def _divergence(rung: Candidate) -> float:
    assert rung.divergence is not None, rung.name
    return rung.divergence


def _as_near(rung: Candidate, best: Candidate) -> bool:
    """Within one standard error of the difference. An upper bound of it: both were measured over the same text."""
    return _divergence(rung) - _divergence(best) <= math.hypot(rung.error, best.error)
