"""A model's pass over calibration text, by this process or by a cluster's workers, in a way that can be resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from ggufactory import __version__
from ggufactory.calibrate import streamed_pass
from ggufactory.calibrate.collected import Collected
from ggufactory.calibrate.device import device_of, told_when_gpu_fails
from ggufactory.calibrate.distribution import Distribution, Workload, distribute
from ggufactory.calibrate.heap import WORKER_BASE_BYTES, told_when_exhausted
from ggufactory.calibrate.streamed_model import StreamedModel
from ggufactory.calibrate.streamed_pass import Tokens, group_size
from ggufactory.calibrate.unfinished import Unfinished
from ggufactory.checkpoint import Checkpoint
from ggufactory.job.calibration_input import is_of_model
from ggufactory.job.calibration_spec import CalibrationSpec, Watcher

if TYPE_CHECKING:
    from ggufactory.cluster.calibration import Work
    from ggufactory.cluster.session import Session


class CalibrationRun:
    """`chunks`: all that may be collected of, [chunks, context].

    On construction the state of the same calibration is found, or begun: InputError where there is state of another
    one of the same name.
    """

    def __init__(self, spec: CalibrationSpec, checkpoint: Checkpoint, chunks: Tokens, watcher: Watcher) -> None:
        self._spec = spec
        self._checkpoint = checkpoint
        self._chunks = chunks
        self._watcher = watcher
        self._on_workers = spec.workers > 1 or bool(spec.ray_address)
        device = device_of("cpu" if self._on_workers else spec.device)
        self.model = StreamedModel(checkpoint, getattr(torch, spec.compute_dtype), device)
        self._state = Unfinished(spec.to, _identity(spec, checkpoint, chunks))
        self._state.begin(restart=spec.restart, replaces=spec.replaces)

    def collect(self, first: int, end: int) -> Collected:
        """Of the chunks from `first` to before `end`. What is collected of others may be added to it.

        InputError where activations are not finite; IncompleteError when a worker failed for good; UnavailableError
        when there is not enough memory or the GPU fails; what stores and clusters raise.
        """
        if self._on_workers:
            return self._on_cluster(first, end)
        with told_when_gpu_fails(), told_when_exhausted():
            return self._here(first, end)

    def end(self) -> None:
        """The result is written: the state is not needed any more."""
        self._state.end()

    def _here(self, first: int, end: int) -> Collected:
        """By this process."""
        distribution = self._distribution(first, end, workers=1)
        model, groups = self.model, -(-(end - first) // group_size(self._chunks.shape[1]))
        collected, before = Collected(), 0
        total = (model.layer_count + 1) * groups
        for number, (begin, stop) in enumerate(distribution.shares):
            steps = (model.layer_count + 1) * -(-(stop - begin) // group_size(self._chunks.shape[1]))

            def on_step(done: int, before: int = before) -> None:
                self._watcher.advanced(before + done, total)

            share = streamed_pass.run(
                model,
                self._chunks[begin:stop],
                hidden_bytes=self._spec.hidden_bytes,
                state=self._state.share(begin, stop),
                # A group fills a GPU, and its memory.
                threads=torch.get_num_threads() if model.device.type == "cpu" else 1,
                first_chunk=begin,
                on_step=on_step,
                on_layer=lambda layer: self._watcher.layer_done(layer, model.layer_count),
            )
            collected.add(share)
            before += steps
            if len(distribution.shares) > 1:
                self._watcher.share_done(number + 1, len(distribution.shares))
        return collected

    def _distribution(self, first: int, end: int, workers: int) -> Distribution:
        """As it was begun, else as it is best; and say so."""
        found = self._state.distribution(first, end)
        if found is not None:
            self._watcher.planned("an unfinished calibration was found, and is resumed")
            if len(found.shares) == 1 and workers > 1:
                found = replace(found, way="layers")  # what is not cut can be taken on in both ways
        else:
            size = group_size(self._chunks.shape[1])
            load = Workload(
                model_bytes=sum(tensor.nbytes for tensor in self._checkpoint.tensors.values()),
                hidden_bytes=self._hidden_bytes(end - first),
                layers=self.model.layer_count,
                groups=-(-(end - first) // size),
                workers=workers,
            )
            found = distribute(self._spec.split, load, first, end, size)
            self._state.keep_distribution(first, end, found)
        if found.way == "layers":
            self._watcher.planned(f"layers divided among {workers} workers: {found.reason}")
        elif len(found.shares) > 1:
            self._watcher.planned(f"{len(found.shares)} shares of the chunks, {workers} at once: {found.reason}")
        return found

    def _hidden_bytes(self, chunks: int) -> int:
        """Of the hidden states of so many chunks."""
        return chunks * int(self._chunks.shape[1]) * self.model.width * self.model.dtype.itemsize

    def _on_cluster(self, first: int, end: int) -> Collected:
        from ggufactory.cluster.calibration import collect_shares
        from ggufactory.cluster.session import open_session
        from ggufactory.cluster.stages import collect_layers

        in_memory = min(self._hidden_bytes(end - first), self._spec.hidden_bytes)
        with open_session(self._spec.ray_address, self._spec.workers, shared_bytes=in_memory) as session:
            workers = self._workers(session)
            distribution = self._distribution(first, end, workers)
            if distribution.way == "layers":
                work = self._work(first, end, self._worker_bytes(hidden=0, sums=0))
                return collect_layers(session, work, workers, self._watcher)
            works = []
            for begin, stop in distribution.shares:
                hidden = min(self._hidden_bytes(stop - begin), self._spec.hidden_bytes)
                works.append(self._work(begin, stop, self._worker_bytes(hidden, self.model.sums_bytes)))
            return collect_shares(session, works, self._spec.hidden_bytes, self._watcher)

    def _workers(self, session: Session) -> int:
        if not self._spec.ray_address:
            return self._spec.workers
        return session.cpus()

    def _work(self, first: int, end: int, memory: int) -> Work:
        from ggufactory.cluster.calibration import Work

        return Work(
            source=self._checkpoint.store.uri,
            compute_dtype=self._spec.compute_dtype,
            chunks=self._chunks[first:end],
            first_chunk=first,
            state=self._state.share(first, end),
            layers=self.model.layer_count,
            memory=memory,
        )

    def _worker_bytes(self, hidden: int, sums: int) -> int:
        """What a worker takes at most."""
        model = self.model
        return WORKER_BASE_BYTES + model.largest_bytes + 2 * model.largest_parameter_bytes + hidden + sums


def _identity(spec: CalibrationSpec, checkpoint: Checkpoint, chunks: Tokens) -> Mapping[str, str]:
    """All that decides the result, by the words that a user knows it by."""
    files = [(info.name, info.size, info.etag) for info in checkpoint.files.values() if is_of_model(info.name)]
    return {
        "model": hashlib.sha256(repr(sorted(files)).encode()).hexdigest(),
        "text": hashlib.sha256(np.ascontiguousarray(chunks).data).hexdigest(),
        "context": str(chunks.shape[1]),
        "number of chunks": str(len(chunks)),
        "compute dtype": spec.compute_dtype,
        "version of ggufactory": __version__,
    }
