"""From a checkpoint and texts to an importance matrix: the main flow of `ggufactory calibrate`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ggufactory.architectures import ConversionOptions, describe
from ggufactory.calibrate.distribution import WAYS, Way
from ggufactory.calibrate.imatrix_file import check_format, write_imatrix
from ggufactory.calibrate.sums import ImatrixFile
from ggufactory.calibrate.text.corpus import read_corpus
from ggufactory.calibrate.text.tokenizer import tokenizer_of
from ggufactory.checkpoint import Checkpoint, open_source
from ggufactory.errors import InputError

COMPUTE_DTYPES = ("float32", "bfloat16")
DEFAULT_CONTEXT = 512
"""Tokens of a chunk; llama-imatrix's own."""
DEFAULT_HIDDEN_BYTES = 2 << 30


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
    hidden_bytes: int = DEFAULT_HIDDEN_BYTES
    """Hidden states kept in memory; more are kept in a temporary file."""
    pre_tokenizer: str | None = None
    workers: int = 1
    """Of an embedded Ray, each with one core. 1: this process, with all cores."""
    ray_address: str | None = None
    """A cluster to join, with a worker for each of its CPUs."""
    split: Way | None = None
    """What is divided among workers; None: that which moves fewer bytes."""
    restart: bool = False
    """Drop what an unfinished calibration of the same file has left, whatever it was of."""

    def __post_init__(self) -> None:
        if self.compute_dtype not in COMPUTE_DTYPES:
            raise InputError(f"compute dtype: wanted one of {', '.join(COMPUTE_DTYPES)}, found {self.compute_dtype!r}")
        if self.split is not None and self.split not in WAYS:
            raise InputError(f"split: wanted one of {', '.join(WAYS)}, found {self.split!r}")
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
    bytes_read: int
    """Of the checkpoint's tensors, by all workers of this run."""


class Watcher(Protocol):
    """Who is told how a calibration goes."""

    def planned(self, how: str) -> None:
        """How the work is divided among workers, and why."""

    def advanced(self, done: int, total: int) -> None:
        """Of the steps: each is a group of chunks that went through a layer, or through the head."""

    def layer_done(self, done: int, layers: int) -> None:
        """All chunks went through it."""

    def share_done(self, done: int, shares: int) -> None:
        """Of the chunks, where they are divided."""

    def tick(self) -> None:
        """About every second while it waits for a cluster."""

    def warn(self, message: str) -> None: ...


def calibrate(spec: CalibrationSpec, watcher: Watcher) -> Calibrated:
    """Write the importance matrix.

    InputError for a source or a text that cannot be used, and where there is state of another calibration of the same
    name; IncompleteError when a worker failed for good; what the stores and the cluster raise. What was done by then
    is found again by the next call.
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
    from ggufactory.calibrate.entries import entries
    from ggufactory.calibration_run import CalibrationRun

    run = CalibrationRun(spec, checkpoint, corpus.chunks, watcher)
    collected = run.collect(0, len(corpus.chunks))
    names = tuple(uri.rpartition("/")[2] for uri in corpus.datasets)
    targets = run.model.targets
    found = ImatrixFile(names, len(corpus.chunks), spec.context, entries(collected, described.tensors, targets))
    write_imatrix(spec.to, found)
    run.end()
    return Calibrated(found, collected.perplexity, corpus.chunks.size, collected.bytes_read)
