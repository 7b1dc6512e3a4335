"""From a checkpoint and texts to an importance matrix: the main flow of `ggufactory calibrate`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ggufactory.architectures import ConversionOptions, describe
from ggufactory.calibrate.imatrix_file import check_format, write_imatrix
from ggufactory.calibrate.sums import ImatrixFile
from ggufactory.calibrate.text.corpus import read_corpus
from ggufactory.calibrate.text.tokenizer import tokenizer_of
from ggufactory.checkpoint import Checkpoint, open_source
from ggufactory.errors import InputError

if TYPE_CHECKING:
    from ggufactory.calibrate.streamed_pass import Collected, Tokens

COMPUTE_DTYPES = ("float32", "bfloat16")
DEVICES = ("auto", "cpu", "cuda")
DEFAULT_CONTEXT = 512
"""Tokens of a chunk; llama-imatrix's own."""
DEFAULT_HIDDEN_BYTES = 2 << 30
_WORKER_BASE_BYTES = 1 << 30
"""Of a worker before its first layer: PyTorch, transformers, a group of chunks."""
_COPIES_OF_A_LAYER = 2
"""As read, and as the model has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSpec:
    """InputError on construction for values that cannot be meant."""

    source: str
    texts: tuple[str, ...]
    to: str
    """The file to write, .gguf or .dat."""
    context: int = DEFAULT_CONTEXT
    chunks: int | None = None
    """At most so many; None: as many as the texts have."""
    compute_dtype: str = "float32"
    device: str = "auto"
    """Where layers compute. "auto": a GPU if there is one. The workers of a cluster compute on CPUs."""
    hidden_bytes: int = DEFAULT_HIDDEN_BYTES
    """Hidden states kept in memory; more are kept in a temporary file."""
    pre_tokenizer: str | None = None
    workers: int = 1
    """Shares of the chunks that are taken through the model at once, each by a worker of an embedded Ray with one
    core. 1: by this process, with all cores."""
    ray_address: str | None = None
    """A cluster to join, with a share for each of its CPUs."""

    def __post_init__(self) -> None:
        if self.compute_dtype not in COMPUTE_DTYPES:
            raise InputError(f"compute dtype: wanted one of {', '.join(COMPUTE_DTYPES)}, found {self.compute_dtype!r}")
        if self.device not in DEVICES:
            raise InputError(f"device: wanted one of {', '.join(DEVICES)}, found {self.device!r}")
        if self.device == "cuda" and (self.workers > 1 or self.ray_address):
            raise InputError(
                "device cuda: the workers of a cluster compute on CPUs",
                fix="Calibrate in one process, without --workers and --ray-address",
            )
        if self.workers < 1:
            raise InputError(f"workers: wanted 1 or more, found {self.workers}")
        if self.context < 2:
            raise InputError(f"context: wanted 2 tokens or more, found {self.context}")
        check_format(self.to)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What a calibration ended with."""

    imatrix: ImatrixFile
    perplexity: float
    """Of the model on the texts, over the second half of each chunk."""
    tokens: int


class Watcher(Protocol):
    """Who is told how a calibration goes."""

    def layer_done(self, done: int, layers: int) -> None: ...

    def share_done(self, done: int, shares: int) -> None:
        """Of the chunks, on a cluster."""

    def tick(self) -> None:
        """About every second while it waits for a cluster."""

    def warn(self, message: str) -> None: ...


def calibrate(spec: CalibrationSpec, watcher: Watcher) -> Calibrated:
    """Write the importance matrix.

    InputError for a source or a text that cannot be used; what the stores and the cluster raise.
    """
    checkpoint = open_source(spec.source)
    if not isinstance(checkpoint, Checkpoint):
        raise InputError(
            f"{spec.source} is a GGUF file; calibration runs the model of a checkpoint",
            fix="Give the checkpoint that it was converted from, or use llama-imatrix",
        )
    described = describe(checkpoint, ConversionOptions(pre_tokenizer=spec.pre_tokenizer))
    if any(kv.key.endswith(".attention.causal") and kv.value is False for kv in described.metadata):
        raise InputError(f"{spec.source} is an encoder; only models that predict text are calibrated")
    corpus = read_corpus(spec.texts, tokenizer_of(described.metadata), context=spec.context, limit=spec.chunks)
    # Here and not above: PyTorch and transformers take seconds to import.
    import torch

    from ggufactory.calibrate import streamed_pass
    from ggufactory.calibrate.device import device_of
    from ggufactory.calibrate.entries import entries
    from ggufactory.calibrate.streamed_model import StreamedModel

    on_cluster = spec.workers > 1 or bool(spec.ray_address)
    device = device_of("cpu" if on_cluster else spec.device)
    model = StreamedModel(checkpoint, getattr(torch, spec.compute_dtype), device)
    if on_cluster:
        collected = _on_cluster(spec, checkpoint, corpus.chunks, model.largest_bytes, watcher)
    else:
        collected = streamed_pass.run(
            model, corpus.chunks, spec.hidden_bytes, lambda layer: watcher.layer_done(layer + 1, model.layer_count)
        )
    names = tuple(uri.rpartition("/")[2] for uri in corpus.datasets)
    found = ImatrixFile(names, len(corpus.chunks), spec.context, entries(collected, described.tensors, model.targets))
    write_imatrix(spec.to, found)
    return Calibrated(found, collected.perplexity, corpus.chunks.size)


def _on_cluster(
    spec: CalibrationSpec, checkpoint: Checkpoint, chunks: Tokens, largest_bytes: int, watcher: Watcher
) -> Collected:
    from ggufactory.calibrate.streamed_pass import shares
    from ggufactory.cluster.calibration import collect
    from ggufactory.cluster.session import open_session

    with open_session(spec.ray_address, spec.workers, shared_bytes=chunks.nbytes) as session:
        cpus = int(sum(node.get("CPU", 0) for node in session.nodes()))
        parts = shares(chunks, cpus if spec.ray_address else spec.workers)
        memory = _WORKER_BASE_BYTES + _COPIES_OF_A_LAYER * largest_bytes + spec.hidden_bytes
        return collect(
            session,
            checkpoint.store.uri,
            parts,
            spec.compute_dtype,
            spec.hidden_bytes,
            memory,
            watcher.share_done,
            watcher,
        )
