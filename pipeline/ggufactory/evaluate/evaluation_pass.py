"""The source's model and every rung's side by side, a layer at a time: each layer's weights are read once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import torch

from ggufactory.calibrate.collected import Collected
from ggufactory.calibrate.group_threads import GroupThreads
from ggufactory.calibrate.hidden_states import HiddenStates
from ggufactory.calibrate.products import Products
from ggufactory.calibrate.share_state import ShareState
from ggufactory.calibrate.streamed_model import StreamedModel
from ggufactory.calibrate.streamed_pass import Tokens, groups_of
from ggufactory.errors import InputError
from ggufactory.evaluate.divergence import Positions, compare
from ggufactory.evaluate.rung_model import Kept, RungModel, SourceModel

_POSITIONS = "positions"
_SOURCE = "the source"


@dataclass(slots=True)
class _Running:
    """A model, and how far its chunks have come."""

    name: str
    model: StreamedModel
    hidden: HiddenStates
    state: ShareState
    finished: int = 0
    """Layers."""


def run(
    source: SourceModel,
    rungs: Sequence[RungModel],
    kept: Kept,
    chunks: Tokens,
    *,
    hidden_bytes: int,
    state: ShareState,
    threads: int = 1,
    first_chunk: int = 0,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> list[Positions]:
    """Each rung compared with the source, over the second half of each of `chunks` [chunks, context], of which the
    first is number `first_chunk` of the text.

    `kept`: where `source` leaves what rungs take from it; `hidden_bytes`: hidden states of all models that are kept in
    memory, the rest go to temporary files; `on_step`: told how many steps are done of how many, each a layer of a model
    or the comparison of a rung. Goes on from what `state` has. InputError where activations are not finite.
    """
    groups = groups_of(chunks)
    names = [_SOURCE, *(rung.file.name for rung in rungs)]
    layers, total = source.layer_count, len(names) * source.layer_count + len(rungs)
    done = 0

    def step(steps: int = 1) -> None:
        nonlocal done
        done += steps
        on_step(done, total)

    with ExitStack() as stack:
        each = stack.enter_context(GroupThreads(min(threads, len(groups))))
        running = []
        for number, (name, model) in enumerate(zip(names, (source, *rungs), strict=True)):
            hidden = stack.enter_context(HiddenStates(hidden_bytes // len(names)))
            own = state.part(f"{number:03}")
            one = _Running(name, model, hidden, own)
            one.finished = own.resume(layers, len(groups), partial(_fill, one, groups))
            running.append(one)
            step(one.finished)
        kept.clear()
        for layer in range(layers):
            for one in running:
                if one.finished == layer:
                    with one.model.layer(layer):
                        _run_layer(one, layer, len(groups), each, first_chunk)
                    step()
            kept.clear()
        return _compared(running, groups, each, step)


def _fill(one: _Running, groups: Sequence[torch.Tensor], finished: int) -> None:
    """With the first layer's input, or with what the last finished layer gave."""
    for shape in {(tokens.shape[0], tokens.shape[1]) for tokens in groups}:
        one.model.calls(*shape)
    if finished:
        for number, tokens in enumerate(groups):
            shape_of = (*tokens.shape, one.model.width)
            one.hidden.put(number, one.state.states(finished, number, shape_of, one.model.dtype))
        return
    with one.model.embedding():
        for number, tokens in enumerate(groups):
            one.hidden.put(number, one.model.embed(tokens))


def _run_layer(one: _Running, layer: int, groups: int, each: GroupThreads, first_chunk: int) -> None:
    def take(group: int) -> None:
        hidden = one.hidden.get(group)
        call = one.model.calls(hidden.shape[0], hidden.shape[1])[layer]
        with Products():
            output = one.model.run_layer(layer, hidden, call)
        if not torch.isfinite(output).all():
            bad = int((~torch.isfinite(output)).flatten(1).any(dim=1).nonzero()[0])
            number = first_chunk + group * len(one.hidden.get(0)) + bad
            raise InputError(
                f"{one.name}, layer {layer}: the output of chunk {number} is not finite",
                fix="Compute in float32 (--compute-dtype float32), or evaluate with other text",
            )
        one.hidden.put(group, output)
        one.state.keep(layer + 1, group, output)

    each.each(groups, take, lambda _: None)
    one.state.finish(layer + 1, groups, Collected())
    one.finished = layer + 1


def _compared(
    running: Sequence[_Running], groups: Sequence[torch.Tensor], each: GroupThreads, step: Callable[[], None]
) -> list[Positions]:
    """Logits of a chunk are compared and dropped."""
    source, *rungs = running
    found = []
    with source.model.head():
        for rung in rungs:
            arrays = rung.state.result(_POSITIONS)
            if arrays is None:
                with rung.model.head():
                    positions = _compare(source, rung, groups, each)
                rung.state.keep_result(_POSITIONS, positions.arrays())
            else:
                positions = Positions.of_arrays(arrays)
            found.append(positions)
            step()
    return found


def _compare(source: _Running, rung: _Running, groups: Sequence[torch.Tensor], each: GroupThreads) -> Positions:
    def compare_group(number: int) -> tuple[int, Positions]:
        tokens = groups[number]
        half = tokens.shape[1] // 2
        parts = []
        for chunk in range(len(tokens)):
            ids = tokens[chunk : chunk + 1]
            keep = tokens.shape[1] - half
            wanted, found = (
                one.model.logits(ids, one.hidden.get(number)[chunk : chunk + 1], keep)[0, :-1] for one in (source, rung)
            )
            parts.append(compare(wanted, found, ids[0, half + 1 :]))
        return number, Positions.joined(parts)

    found: dict[int, Positions] = {}
    each.each(len(groups), compare_group, lambda result: found.update([result]))
    return Positions.joined([found[number] for number in range(len(groups))])
