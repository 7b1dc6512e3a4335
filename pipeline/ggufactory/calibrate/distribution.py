"""How a calibration is divided among workers, decided by what each way has to move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Way = Literal["chunks", "layers"]
WAYS: tuple[Way, ...] = ("chunks", "layers")


@dataclass(frozen=True, slots=True)
class Workload:
    """`model_bytes`: of the checkpoint's tensors; `hidden_bytes`: of the hidden states of all chunks between two
    layers; `groups`: of chunks that go through a layer together."""

    model_bytes: int
    hidden_bytes: int
    layers: int
    groups: int
    workers: int

    @property
    def cost_of_chunks(self) -> float:
        """Bytes moved when every worker reads all layers, over the share of the time in which workers have work: the
        largest share of the groups decides when all are done."""
        largest = -(-self.groups // self.workers)
        return self.workers * self.model_bytes * self.workers * largest / self.groups

    @property
    def cost_of_layers(self) -> float:
        """Bytes moved when each layer is read once and the hidden states of every layer but the last are handed on
        (written by one worker, read by another), over the share of the time in which workers have work.

        Layers are dealt to the workers in turn, and a worker begins with its next layer when all groups have gone
        through its last one and the first group has come through the layer before. With n = max(groups, workers), the
        last group leaves layer l after (l mod workers) + (l div workers) n + groups steps.
        """
        moved = self.model_bytes + 2 * self.hidden_bytes * (self.layers - 1)
        last = self.layers - 1
        steps = last % self.workers + last // self.workers * max(self.groups, self.workers) + self.groups
        return moved * steps * self.workers / (self.layers * self.groups)


@dataclass(frozen=True, slots=True)
class Distribution:
    """`shares`: of the chunks, each from its first to before its end; each is taken through all layers by one worker
    ("chunks"), or the only one by all workers, each of which has its layers ("layers")."""

    way: Way
    shares: tuple[tuple[int, int], ...]
    reason: str


def distribute(way: Way | None, load: Workload, first: int, end: int, group: int) -> Distribution:
    """Of the chunks from `first` to before `end`, in groups of `group`. `way`: what the user wants, if anything."""
    if load.workers == 1 or load.groups == 1:
        only = "one worker" if load.workers == 1 else "one group of chunks"
        return Distribution("chunks", ((first, end),), f"there is {only}")
    chunks, layers = load.cost_of_chunks, load.cost_of_layers
    reason = "as asked for"
    if way is None:
        way = "chunks" if chunks <= layers else "layers"
        reason = (
            f"moves {_size(chunks)} of weights in {load.workers} shares of the chunks, {_size(layers)} of weights and "
            f"hidden states in layers (idle workers counted in)"
        )
    shares = ranges(end - first, group, load.workers if way == "chunks" else 1)
    return Distribution(way, tuple((first + a, first + b) for a, b in shares), reason)


def ranges(chunks: int, group: int, shares: int) -> list[tuple[int, int]]:
    """`chunks` in up to `shares` runs of whole groups: what goes through a layer together stays together."""
    groups = -(-chunks // group)
    shares = min(shares, groups)
    borders = [min(groups * share // shares * group, chunks) for share in range(shares + 1)]
    return list(zip(borders, borders[1:], strict=False))


def _size(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"
