"""One pass over chunks, a layer at a time: statistics of every layer's inputs, and perplexity."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from ggufactory.calibrate.collected import Collected
from ggufactory.calibrate.distribution import ranges
from ggufactory.calibrate.group_pass import through_head, through_layer
from ggufactory.calibrate.group_threads import GroupThreads
from ggufactory.calibrate.hidden_states import HiddenStates
from ggufactory.calibrate.share_state import ShareState
from ggufactory.calibrate.streamed_model import StreamedModel

Tokens = npt.NDArray[np.int32]
GROUP_TOKENS = 2048
"""Tokens that go through a layer at once. It decides what is summed with what, and so the last bits of the result."""


def group_size(context: int) -> int:
    """Chunks of a group."""
    return max(GROUP_TOKENS // context, 1)


def groups_of(chunks: Tokens) -> list[torch.Tensor]:
    """`chunks` [chunks, context] in the order in which they are taken through the model, as int64."""
    size = group_size(chunks.shape[1])
    return [
        torch.from_numpy(chunks[first:end].astype(np.int64)) for first, end in ranges(len(chunks), size, len(chunks))
    ]


def run(
    model: StreamedModel,
    chunks: Tokens,
    *,
    hidden_bytes: int,
    state: ShareState,
    threads: int = 1,
    first_chunk: int = 0,
    on_step: Callable[[int], None] = lambda done: None,
    on_layer: Callable[[int], None] = lambda done: None,
) -> Collected:
    """`chunks`: token ids [chunks, context], of which the first is number `first_chunk` of the text; `hidden_bytes`:
    hidden states kept in memory, the rest go to a temporary file; `on_step`: told how many steps are done, each a group
    through a layer or the head; `on_layer`: how many layers.

    Goes on from what `state` has. InputError where activations are not finite, naming the layer and the chunk.
    """
    groups = groups_of(chunks)
    size = group_size(chunks.shape[1])
    layers = model.layer_count
    steps = 0
    before = model.bytes_read

    def done(found: Collected, of: Collected) -> None:
        nonlocal steps
        of.add(found)
        steps += 1
        on_step(steps)

    with HiddenStates(hidden_bytes) as hidden, GroupThreads(min(threads, len(groups))) as each:
        finished = state.resume(layers, len(groups), lambda last: _fill(model, groups, hidden, state, last))
        collected = state.collected(finished)
        if finished > layers:
            return collected
        steps = finished * len(groups)
        on_step(steps)
        for layer in range(finished, layers):

            def take(group: int, layer: int = layer) -> Collected:
                output, found = through_layer(model, layer, hidden.get(group), first_chunk + group * size)
                hidden.put(group, output)
                state.keep(layer + 1, group, output)
                return found

            sums = Collected()
            with model.layer(layer):
                each.each(len(groups), take, lambda found, sums=sums: done(found, sums))  # type: ignore[misc]
            state.finish(layer + 1, len(groups), sums)
            collected.add(sums)
            on_layer(layer + 1)
        scores = Collected()
        with model.head():
            each.each(
                len(groups),
                lambda group: through_head(model, groups[group], hidden.get(group)),
                lambda found: done(found, scores),
            )
        state.finish(layers + 1, len(groups), scores)
        collected.add(scores)
    collected.bytes_read = model.bytes_read - before
    return collected


def _fill(
    model: StreamedModel, groups: list[torch.Tensor], hidden: HiddenStates, state: ShareState, finished: int
) -> None:
    """With the first layer's input, or with what the last finished layer gave; of all with the head, with nothing."""
    if finished > model.layer_count:
        return
    for shape in {(tokens.shape[0], tokens.shape[1]) for tokens in groups}:
        model.calls(*shape)
    if finished:
        for number, tokens in enumerate(groups):
            hidden.put(number, state.states(finished, number, (*tokens.shape, model.width), model.dtype))
        return
    with model.embedding():
        for number, tokens in enumerate(groups):
            hidden.put(number, model.embed(tokens))
