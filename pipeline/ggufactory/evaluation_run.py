"""The models' pass over evaluation text, by this process or by a cluster's workers, in a way that can be resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ggufactory import __version__
from ggufactory.calibrate.distribution import ranges
from ggufactory.calibrate.heap import WORKER_BASE_BYTES
from ggufactory.calibrate.streamed_model import StreamedModel
from ggufactory.calibrate.streamed_pass import Tokens, group_size
from ggufactory.calibrate.unfinished import Unfinished
from ggufactory.checkpoint import Checkpoint
from ggufactory.evaluate.divergence import Positions
from ggufactory.evaluate.models import Models, Share
from ggufactory.evaluate.rung_file import RungFile
from ggufactory.evaluation_spec import EvaluationSpec, Watcher

_RESULT = "evaluation"
"""What the state is kept under: results of one folder are made one after the other."""


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
        self._state.begin(restart=spec.restart)

    def compare(self) -> list[Positions]:
        """Of each file, in order. InputError where activations are not finite; IncompleteError when a worker failed
        for good; what stores and clusters raise."""
        if self._spec.workers > 1 or self._spec.ray_address:
            return self._on_cluster()
        models = Models(self._checkpoint, self._files, self._spec.arithmetic)
        share = self._shares(1)[0]
        return models.run(share, self._spec.hidden_bytes, torch.get_num_threads(), self._watcher.advanced)

    def end(self) -> None:
        """The result is told: the state is not needed any more."""
        self._state.end()

    def _shares(self, workers: int) -> list[Share]:
        size = group_size(self._chunks.shape[1])
        return [
            Share(self._chunks[first:end], first, self._state.share(first, end))
            for first, end in ranges(len(self._chunks), size, workers)
        ]

    def _on_cluster(self) -> list[Positions]:
        from ggufactory.cluster.evaluation import compare_shares
        from ggufactory.cluster.session import open_session

        source = StreamedModel(self._checkpoint, getattr(torch, self._spec.arithmetic.compute_dtype))
        with open_session(self._spec.ray_address, self._spec.workers, shared_bytes=self._chunks.nbytes) as session:
            workers = self._spec.workers
            if self._spec.ray_address:
                workers = session.cpus()
            by_share = compare_shares(
                session,
                self._checkpoint.store.uri,
                {file.name: file.uri for file in self._files},
                self._shares(workers),
                self._spec.arithmetic.compute_dtype,
                self._spec.hidden_bytes,
                # One layer at a time, but of the heads the source's and a rung's.
                WORKER_BASE_BYTES
                + 2 * (source.largest_bytes + source.largest_parameter_bytes)
                + self._spec.hidden_bytes,
                self._watcher,
            )
        return [Positions.joined([share[rung] for share in by_share]) for rung in range(len(self._files))]


def _identity(
    spec: EvaluationSpec, checkpoint: Checkpoint, files: Sequence[RungFile], chunks: Tokens
) -> Mapping[str, str]:
    """All that decides the result, by the words that a user knows it by."""
    source = [(info.name, info.size, info.etag) for info in checkpoint.files.values()]
    return {
        "source": hashlib.sha256(repr(sorted(source)).encode()).hexdigest(),
        "rungs": hashlib.sha256(repr([(file.name, file.identity) for file in files]).encode()).hexdigest(),
        "text": hashlib.sha256(np.ascontiguousarray(chunks).data).hexdigest(),
        "context": str(chunks.shape[1]),
        "number of chunks": str(len(chunks)),
        "compute dtype": spec.compute_dtype,
        "version of ggufactory": __version__,
    }
