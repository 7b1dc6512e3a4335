"""Calibration as Ray actors, the layers divided: each actor reads its own layers only, one after the other, and the
hidden states of each group of chunks go from actor to actor through Ray's object store.

Layers are dealt to the actors in turn. An actor takes all groups through its layer, and goes on with its next one,
whose first group has come through the layers between by then; so all actors work at the same time, each holds one
layer, and every layer is read once. One copy of the hidden states is under way; what does not fit into the object
store's memory, Ray keeps on disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
from ray.exceptions import RayError

from ggufactory import interrupts
from ggufactory.calibrate.collected import Collected
from ggufactory.cluster.calibration import FIX_MEMORY, Watcher, Work
from ggufactory.cluster.session import Session
from ggufactory.cluster.submit import Watchdog, as_ours, check_fits
from ggufactory.errors import IncompleteError, InputError, TransientStoreError

_RESTARTS = 4
"""Of an actor that dies, and of a call that the store failed."""
_POLL_SECONDS = 1.0
_RETRIED = [TransientStoreError, ConnectionError]
Bytes = npt.NDArray[np.uint8]


@interrupts.held()
def collect_layers(session: Session, work: Work, workers: int, watcher: Watcher) -> Collected:
    """What is collected of all chunks in all layers. A worker that dies is started again, and repeats what it had in
    hand: groups that went through its layer are not lost.

    InputError where activations are not finite; IncompleteError when a worker failed for good; UnavailableError when no
    node can ever take a worker; StoppedError within a second of a signal.
    """
    check_fits(session, work.memory, FIX_MEMORY)
    actor = ray.remote(_Stage).options(
        name=None, num_cpus=1, memory=work.memory, max_restarts=_RESTARTS, max_task_retries=_RESTARTS
    )
    stages = [actor.remote(work) for _ in range(min(workers, work.layers))]
    try:
        return _Pipeline(work, stages, Watchdog(session, work.memory, watcher, FIX_MEMORY), watcher).run()
    except RayError as error:
        failure = as_ours(error)
        if isinstance(failure, InputError):
            raise failure from error
        raise IncompleteError(
            f"a worker failed for good: {failure}", fix="The same command resumes after the last finished layer"
        ) from error
    finally:
        for stage in stages:
            ray.kill(stage)


class _Pipeline:
    """Submits the groups of each layer in turn, and adds up what comes back, layer by layer."""

    def __init__(self, work: Work, stages: list[Any], watchdog: Watchdog, watcher: Watcher) -> None:
        from ggufactory.calibrate.streamed_pass import groups_of

        self._work = work
        self._stages = stages
        self._watchdog = watchdog
        self._watcher = watcher
        self._groups = [tokens.numpy() for tokens in groups_of(work.chunks)]
        self._finished = work.state.finished(work.layers, len(self._groups))
        self._collected = work.state.collected(self._finished)
        self._of_layer: dict[int, Collected] = {}
        self._left: dict[int, int] = {}
        self._hidden: dict[int, Any] = {}
        """Of each group: what the last layer that it was submitted to gives, as a reference."""

    def run(self) -> Collected:
        pending: dict[Any, int] = {}
        calls = self._calls()
        window = (len(self._stages) + 1) * len(self._groups)
        while True:
            interrupts.check()
            while len(pending) < window and (call := next(calls, None)):
                pending[call[1]] = call[0]
            if not pending:
                return self._collected
            ready, _ = ray.wait(list(pending), num_returns=min(len(pending), 50), timeout=_POLL_SECONDS)
            self._watcher.tick()
            self._watchdog.look(bool(ready))
            for reference in ready:
                self._add(pending.pop(reference), ray.get(reference))

    def _calls(self) -> Iterator[tuple[int, Any]]:
        """The number of the layer (from 1; the head's is one more) and the reference to the sums, of each group."""
        first = self._finished
        for number, tokens in enumerate(self._groups):
            if not first:
                self._hidden[number] = self._stage(0).embed.remote(tokens)
        for layer in range(first, self._work.layers + 1):
            for number, tokens in enumerate(self._groups):
                given = self._hidden.get(number)
                if layer == self._work.layers:
                    yield layer + 1, self._stage(layer).score.remote(number, tokens, given)
                else:
                    call = self._stage(layer).take.options(num_returns=2)
                    self._hidden[number], sums = call.remote(layer, number, tokens.shape, given)
                    yield layer + 1, sums

    def _stage(self, layer: int) -> Any:
        return self._stages[layer % len(self._stages)]

    def _add(self, layer: int, found: Collected) -> None:
        groups = len(self._groups)
        self._of_layer.setdefault(layer, Collected()).add(found)
        self._left[layer] = self._left.get(layer, groups) - 1
        done = self._finished * groups + sum(groups - left for left in self._left.values())
        self._watcher.advanced(done, (self._work.layers + 1) * groups)
        # In their order: a layer counts as finished when those before it do.
        while self._left.get(self._finished + 1) == 0:
            self._finished += 1
            sums = self._of_layer.pop(self._finished)
            del self._left[self._finished]
            self._work.state.finish(self._finished, groups, sums)
            self._collected.add(sums)
            if self._finished <= self._work.layers:
                self._watcher.layer_done(self._finished, self._work.layers)


class _Stage:
    """An actor. It keeps what it has read until it is asked for something else; its answers depend on the questions
    alone, so a question may be repeated, by another process as well."""

    def __init__(self, work: Work) -> None:
        import torch

        from ggufactory.calibrate.streamed_model import StreamedModel
        from ggufactory.checkpoint import open_checkpoint

        torch.set_num_threads(1)
        self._model = StreamedModel(open_checkpoint(work.source), getattr(torch, work.compute_dtype))
        self._state = work.state
        self._first_chunk = work.first_chunk
        self._loaded: object = None
        self._weights = ExitStack()
        self._reported = 0

    @ray.method(retry_exceptions=_RETRIED)  # type: ignore[untyped-decorator]
    def embed(self, tokens: npt.NDArray[np.int64]) -> Bytes:
        """The first layer's input for `tokens` [chunks, context]: hidden states as bytes, [chunks, context, width in
        bytes]."""
        import torch

        from ggufactory.calibrate.hidden_states import as_bytes

        self._load("embedding")
        return as_bytes(self._model.embed(torch.from_numpy(tokens.copy())))

    @ray.method(retry_exceptions=_RETRIED)  # type: ignore[untyped-decorator]
    def take(self, layer: int, group: int, shape: tuple[int, int], hidden: Bytes | None) -> tuple[Bytes, Collected]:
        """What the layer gives, which is kept in the state, too, and the sums. `hidden`: its input; None: as the state
        has it."""
        from ggufactory.calibrate.group_pass import through_layer
        from ggufactory.calibrate.hidden_states import as_bytes
        from ggufactory.calibrate.streamed_pass import group_size

        self._load(layer)
        first_chunk = self._first_chunk + group * group_size(shape[1])
        output, found = through_layer(self._model, layer, self._given(layer, group, shape, hidden), first_chunk)
        self._state.keep(layer + 1, group, output)
        return as_bytes(output), self._with_bytes_read(found)

    @ray.method(retry_exceptions=_RETRIED)  # type: ignore[untyped-decorator]
    def score(self, group: int, tokens: npt.NDArray[np.int64], hidden: Bytes | None) -> Collected:
        """How likely the model finds `tokens`, by what its last layer gave."""
        import torch

        from ggufactory.calibrate.group_pass import through_head

        self._load("head")
        given = self._given(self._model.layer_count, group, tokens.shape, hidden)
        return self._with_bytes_read(through_head(self._model, torch.from_numpy(tokens.copy()), given))

    def _load(self, what: int | str) -> None:
        if self._loaded == what:
            return
        self._loaded = None
        self._weights.close()
        model = self._model
        parts = {"embedding": model.embedding, "head": model.head}
        self._weights.enter_context(model.layer(what) if isinstance(what, int) else parts[what]())
        self._loaded = what

    def _given(self, layer: int, group: int, shape: tuple[int, ...], hidden: Bytes | None) -> Any:
        import torch

        if hidden is None:
            return self._state.states(layer, group, (*shape, self._model.width), self._model.dtype)
        # A copy, because what the object store holds cannot be written to.
        return torch.from_numpy(hidden.copy()).view(self._model.dtype)

    def _with_bytes_read(self, found: Collected) -> Collected:
        found.bytes_read = self._model.bytes_read - self._reported
        self._reported = self._model.bytes_read
        return found
