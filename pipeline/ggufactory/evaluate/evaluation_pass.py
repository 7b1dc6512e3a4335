"""The source's model and every rung's side by side, a layer at a time: each layer's weights are read once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch

from ggufactory.calibrate.hidden_states import HiddenStates
from ggufactory.calibrate.streamed_model import LayerCall, StreamedModel
from ggufactory.calibrate.streamed_pass import Tokens, group_size
from ggufactory.errors import InputError
from ggufactory.evaluate.divergence import Positions, compare
from ggufactory.evaluate.rung_model import Kept, RungModel, SourceModel


@dataclass(slots=True)
class _Running:
    """A model, and where its chunks have come to."""

    model: StreamedModel
    name: str
    hidden: HiddenStates


def run(
    source: SourceModel,
    rungs: Sequence[RungModel],
    kept: Kept,
    chunks: Tokens,
    hidden_bytes: int,
    on_layer: Callable[[int], None] = lambda layer: None,
) -> list[Positions]:
    """Each rung compared with the source, over the second half of each of `chunks` [chunks, context].

    `kept`: where `source` leaves what rungs take from it; `hidden_bytes`: hidden states of all models that are kept in
    memory, the rest go to temporary files. InputError where activations are not finite.
    """
    size = group_size(chunks)
    groups = [torch.from_numpy(chunks[at : at + size].astype(np.int64)) for at in range(0, len(chunks), size)]
    names = ["the source", *(rung.file.name for rung in rungs)]
    with ExitStack() as stack:
        running = [
            _Running(model, name, stack.enter_context(HiddenStates(hidden_bytes // len(names))))
            for model, name in zip((source, *rungs), names, strict=True)
        ]
        calls = _embed(running, groups)
        kept.clear()
        for layer in range(source.layer_count):
            for one in running:
                with one.model.layer(layer):
                    _run_layer(one, layer, [called[layer] for called in calls], size)
            kept.clear()
            on_layer(layer)
        return _compared(running, groups, kept)


def _embed(running: Sequence[_Running], groups: Sequence[torch.Tensor]) -> list[list[LayerCall]]:
    """The first hidden states of every model, and what its layers are called with."""
    calls: list[list[LayerCall]] = []
    for one in running:
        with one.model.outside_layers():
            for number, tokens in enumerate(groups):
                hidden, called = one.model.embed(tokens)
                one.hidden.put(number, hidden)
                if len(calls) <= number:
                    # Positions and masks depend on the shape alone, not on the weights.
                    calls.append(called if tokens.shape != groups[0].shape or not calls else calls[0])
    return calls


def _run_layer(one: _Running, layer: int, calls: Sequence[LayerCall], size: int) -> None:
    for number, call in enumerate(calls):
        output = one.model.run_layer(layer, one.hidden.get(number), call)
        if not torch.isfinite(output).all():
            bad = int((~torch.isfinite(output)).flatten(1).any(dim=1).nonzero()[0])
            raise InputError(f"{one.name}, layer {layer}: the output of chunk {number * size + bad} is not finite")
        one.hidden.put(number, output)


def _compared(running: Sequence[_Running], groups: Sequence[torch.Tensor], kept: Kept) -> list[Positions]:
    """Logits of a chunk are compared and dropped."""
    source, *rungs = running
    found = []
    with source.model.outside_layers():
        for one in rungs:
            with one.model.outside_layers():
                parts = [
                    _compare_chunk(source, one, number, chunk, tokens)
                    for number, tokens in enumerate(groups)
                    for chunk in range(len(tokens))
                ]
            found.append(Positions.joined(parts))
    kept.clear()
    return found


def _compare_chunk(source: _Running, rung: _Running, group: int, chunk: int, tokens: torch.Tensor) -> Positions:
    half = tokens.shape[1] // 2
    ids = tokens[chunk : chunk + 1]
    wanted, found = (
        one.model.logits(ids, one.hidden.get(group)[chunk : chunk + 1])[0, half:-1] for one in (source, rung)
    )
    return compare(wanted, found, ids[0, half + 1 :])
