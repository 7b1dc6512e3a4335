"""The models' pass over evaluation text, by this process or by a cluster's workers, in a way that can be resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ggufactory import __version__
from ggufactory.calibrate.device import told_when_gpu_fails
from ggufactory.calibrate.distribution import Distribution, ranges
from ggufactory.calibrate.heap import WORKER_BASE_BYTES, told_when_exhausted
from ggufactory.calibrate.streamed_model import StreamedModel
from ggufactory.calibrate.streamed_pass import Tokens, group_size
from ggufactory.calibrate.unfinished import Unfinished
from ggufactory.checkpoint import Checkpoint
from ggufactory.evaluate.divergence import Positions
from ggufactory.evaluate.models import Models, Share
from ggufactory.evaluate.rung_file import RungFile
from ggufactory.job.calibration_input import is_of_model
from ggufactory.job.evaluation_spec import EvaluationSpec, Watcher

_RESULT = "evaluation"
"""What the state is kept under: results of one folder are made one after the other."""
_READ_ITEM_BYTES = 4
"""Rungs are read in single precision, whatever is computed in."""


class EvaluationRun:
    """On construction the state of the same evaluation is found, or begun. `chunks`: [chunks, context].

    InputError where there is state of another one in the folder of the first of `files`.
    """

    def __init__(
        self,
        spec: EvaluationSpec,
        checkpoint: Checkpoint,
        files: Sequence[RungFile],
        chunks: Tokens,
        watcher: Watcher,
    ) -> None:
        self._spec = spec
        self._checkpoint = checkpoint
        self._files = files
        self._chunks = chunks
        self._watcher = watcher
        folder = files[0].uri.rpartition("/")[0] or "."
        self._state = Unfinished(f"{folder}/{_RESULT}", _identity(spec, checkpoint, files, chunks), "evaluation")
        self._state.begin(restart=spec.restart, replaces=spec.replaces)

    def compare(self) -> list[Positions]:
        """Of each file, in order. InputError where activations are not finite; IncompleteError when a worker failed
        for good; UnavailableError when there is not enough memory or the GPU fails; what stores and clusters raise."""
        if self._spec.on_cluster:
            by_share = self._on_cluster()
        else:
            with told_when_gpu_fails(), told_when_exhausted():
                by_share = self._here()
        return [Positions.joined([share[rung] for share in by_share]) for rung in range(len(self._files))]

    def end(self) -> None:
        """The result is told: the state is not needed any more."""
        self._state.end()

    def _here(self) -> list[list[Positions]]:
        """By this process, one share after the other: there are several where a cluster began it."""
        models = Models(self._checkpoint, self._files, self._spec.arithmetic)
        shares, found = self._shares(1), []
        for number, share in enumerate(shares):

            def on_step(done: int, total: int, number: int = number) -> None:
                self._watcher.advanced(number * total + done, len(shares) * total)

            found.append(models.run(share, self._spec.hidden_bytes, torch.get_num_threads(), on_step))
            if len(shares) > 1:
                self._watcher.share_done(number + 1, len(shares))
        return found

    def _shares(self, workers: int) -> list[Share]:
        """Of the chunks: as they were divided when this evaluation began, else one for each worker."""
        count, size = len(self._chunks), group_size(self._chunks.shape[1])
        divided = self._state.distribution(0, count)
        if divided is None:
            divided = Distribution("chunks", tuple(ranges(count, size, workers)), f"{workers} workers")
            self._state.keep_distribution(0, count, divided)
        return [Share(self._chunks[first:end], first, self._state.share(first, end)) for first, end in divided.shares]

    def _on_cluster(self) -> list[list[Positions]]:
        from ggufactory.cluster.evaluation import Rung, Work, compare_shares
        from ggufactory.cluster.session import open_session

        # Of shapes alone: this process, which may be a small head's, holds no weights.
        source = StreamedModel(self._checkpoint, getattr(torch, self._spec.compute_dtype))
        with open_session(self._spec.ray_address, self._spec.workers, shared_bytes=self._chunks.nbytes) as session:
            shares = self._shares(session.cpus() if self._spec.ray_address else self._spec.workers)
            work = Work(
                source=self._checkpoint.store.uri,
                rungs=tuple(Rung(file.name, file.uri, file.identity) for file in self._files),
                arithmetic=self._spec.arithmetic,
                hidden_bytes=self._spec.hidden_bytes,
                memory=self._worker_bytes(source, shares),
            )
            return compare_shares(session, work, shares, self._watcher)

    def _worker_bytes(self, source: StreamedModel, shares: Sequence[Share]) -> int:
        """What a worker takes at most: one layer at a time, but of the heads the source's and a rung's; and while a
        parameter of a rung is read, what is read, in its place, and converted."""
        item = source.dtype.itemsize
        chunks = max(len(share.chunks) for share in shares)
        hidden = (1 + len(self._files)) * chunks * int(self._chunks.shape[1]) * source.width * item
        reading = 3 * source.largest_parameter_bytes * _READ_ITEM_BYTES // item
        return WORKER_BASE_BYTES + 2 * source.largest_bytes + reading + min(hidden, self._spec.hidden_bytes)


def _identity(
    spec: EvaluationSpec, checkpoint: Checkpoint, files: Sequence[RungFile], chunks: Tokens
) -> Mapping[str, str]:
    """All that decides the result, by the words that a user knows it by."""
    source = [(info.name, info.size, info.etag) for info in checkpoint.files.values() if is_of_model(info.name)]
    return {
        "source": hashlib.sha256(repr(sorted(source)).encode()).hexdigest(),
        "rungs": hashlib.sha256(repr([(file.name, file.identity) for file in files]).encode()).hexdigest(),
        "text": hashlib.sha256(np.ascontiguousarray(chunks).data).hexdigest(),
        "context": str(chunks.shape[1]),
        "number of chunks": str(len(chunks)),
        "compute dtype": spec.compute_dtype,
        "activations": spec.activations,
        "version of ggufactory": __version__,
    }
