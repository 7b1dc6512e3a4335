"""The memory that a rung takes to run with llama.cpp, all of it on one device."""

from __future__ import annotations

from dataclasses import dataclass

from ggufactory.choice.cache import MICRO_BATCH, attended_cells, cache_bytes
from ggufactory.choice.hyperparameters import Hyperparameters

GIB = 1 << 30
"""What the "GB" of a memory are."""
KEPT_FREE = GIB
"""Of each memory, for the driver, the desktop and other programs: what llama.cpp's own `--fit-target` leaves."""
DEFAULT_CONTEXT = 8192
_SINGLE, _HALF = 4, 2
_ROWS_OF_WIDTH = 12
"""Activations of a token that llama.cpp holds at once, in widths of the model: measured of small models of a dozen
architectures (`sched_reserve: compute buffer size`), the largest of which is 11."""


@dataclass(frozen=True, slots=True)
class Need:
    """In bytes."""

    weights: int
    """The size of the files: a little more than the tensors."""
    cache: int
    compute: int

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.compute


def need_of(weights: int, model: Hyperparameters, context: int) -> Need:
    """Of files of `weights` bytes, for a context of so many tokens."""
    return Need(weights, cache_bytes(model, context), compute_bytes(model, context))


def compute_bytes(model: Hyperparameters, context: int) -> int:
    """Of llama.cpp's compute buffer, a little too large: the logits, the attention masks and the activations of one
    micro-batch, with flash attention, which it uses where it can."""
    masks = _HALF * sum(attended_cells(model, context))
    rows = _SINGLE * (model.vocabulary + _ROWS_OF_WIDTH * model.number("embedding_length"))
    return MICRO_BATCH * (masks + rows)


def usual_context(model: Hyperparameters) -> int:
    """`DEFAULT_CONTEXT`, or what the model was trained with where that is less."""
    return min(DEFAULT_CONTEXT, model.number("context_length", DEFAULT_CONTEXT) or DEFAULT_CONTEXT)


def layers_that_fit(need: Need, model: Hyperparameters, memory: int) -> int:
    """What to give llama.cpp as `-ngl`: about so many layers, of equal shares of files and cache, fit into `memory`
    bytes beside the compute buffer. The head counts as a layer."""
    count = model.layers + 1
    share = max((need.weights + need.cache) / count, 1)
    return max(min(int((memory - need.compute) / share), count), 0)
