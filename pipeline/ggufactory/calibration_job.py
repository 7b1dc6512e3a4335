"""From a checkpoint and texts to an importance matrix: the main flow of `ggufactory calibrate`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol

from ggufactory import __version__
from ggufactory.calibrate.completed import complete
from ggufactory.calibrate.coverage import AS_LLAMA_CPP, Coverage, count_experts, next_chunks, thin_experts
from ggufactory.calibrate.imatrix_file import check_format, write_imatrix
from ggufactory.calibrate.record import CalibrationRecord, encode_record
from ggufactory.calibrate.sums import ActivationSums, ImatrixFile
from ggufactory.calibrate.text.default_text import DEFAULT
from ggufactory.calibration_input import CalibrationInput, read_input
from ggufactory.checkpoint import Checkpoint
from ggufactory.errors import InputError

if TYPE_CHECKING:
    from ggufactory.calibrate.streamed_model import StreamedModel
    from ggufactory.calibrate.streamed_pass import Collected, Tokens

COMPUTE_DTYPES = ("float32", "bfloat16")
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
    texts: tuple[str, ...] = (DEFAULT,)
    to: str
    """The file to write, .gguf or .dat."""
    context: int = DEFAULT_CONTEXT
    chunks: int | None = None
    """At most so many; None: as many as the texts have. Where coverage asks for more, so many to begin with."""
    coverage: Coverage = AS_LLAMA_CPP
    """What is done about experts that few tokens reach."""
    compute_dtype: str = "float32"
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
        if self.workers < 1:
            raise InputError(f"workers: wanted 1 or more, found {self.workers}")
        if self.context < 2:
            raise InputError(f"context: wanted 2 tokens or more, found {self.context}")
        if self.chunks is not None and self.chunks < 1:
            raise InputError(f"chunks: wanted 1 or more, found {self.chunks}")
        most = self.coverage.most_chunks
        if most is not None and (self.chunks is None or most < self.chunks):
            raise InputError(f"coverage: {most} chunks at most, of {self.chunks or 'all'} to begin with")
        check_format(self.to)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What a calibration ended with."""

    imatrix: ImatrixFile
    record: CalibrationRecord
    tokens: int

    @property
    def perplexity(self) -> float:
        """Of the model on the texts, over the second half of each chunk."""
        return self.record.perplexity


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
    given = read_input(spec.source, spec.texts, pre_tokenizer=spec.pre_tokenizer)
    described = given.describe()
    chunks = given.cut(described, context=spec.context, limit=most_chunks(spec)).chunks
    # Here and not above: PyTorch and transformers take seconds to import.
    import torch

    from ggufactory.calibrate.entries import entries
    from ggufactory.calibrate.streamed_model import StreamedModel

    model = StreamedModel(given.checkpoint, getattr(torch, spec.compute_dtype))

    def entries_of(collected: Collected) -> dict[str, ActivationSums]:
        return entries(collected, described.tensors, model.targets)

    collected, done = _until_covered(spec, model, given.checkpoint, chunks, entries_of, watcher)
    completed = complete(entries_of(collected), described.tensors, model.layer_count, spec.coverage)
    record = CalibrationRecord(
        fingerprint=fingerprint(spec, given),
        made_by=__version__,
        texts=tuple((text.name, text.sha256) for text in given.texts),
        context=spec.context,
        compute_dtype=spec.compute_dtype,
        perplexity=collected.perplexity,
        coverage=spec.coverage,
        thin=completed.thin,
        unreached=completed.unreached,
    )
    names = tuple(text.name for text in given.texts)
    matrix = ImatrixFile(names, done, spec.context, completed.entries, encode_record(record))
    write_imatrix(spec.to, matrix)
    return Calibrated(matrix, record, chunks[:done].size)


def most_chunks(spec: CalibrationSpec) -> int | None:
    """That the calibration may come to; None: as many as the texts have."""
    return spec.coverage.most_chunks if spec.coverage.policy == "more" else spec.chunks


def fingerprint(spec: CalibrationSpec, given: CalibrationInput) -> str:
    """Of the matrix: equal for calibrations that make the same file."""
    return given.fingerprint(spec.context, spec.chunks, spec.compute_dtype, asdict(spec.coverage))


def _until_covered(
    spec: CalibrationSpec,
    model: StreamedModel,
    checkpoint: Checkpoint,
    chunks: Tokens,
    entries_of: Callable[[Collected], Mapping[str, ActivationSums]],
    watcher: Watcher,
) -> tuple[Collected, int]:
    """What was collected, and of how many chunks: more than asked for where coverage wants it."""
    done = len(chunks[: spec.chunks])
    collected = _collect(spec, model, checkpoint, chunks[:done], watcher)
    wanted = spec.coverage.tokens
    while spec.coverage.policy == "more" and (thin := thin_experts(entries_of(collected), wanted)):
        experts = count_experts(thin)
        if done == len(chunks):
            watcher.warn(f"{experts} saw fewer than {wanted} tokens, and there are no further chunks")
            break
        further = next_chunks(done, len(chunks))
        watcher.warn(f"{experts} saw fewer than {wanted} tokens in {done} chunks: on to {further}")
        collected.add(_collect(spec, model, checkpoint, chunks[done:further], watcher))
        done = further
    return collected, done


def _collect(
    spec: CalibrationSpec, model: StreamedModel, checkpoint: Checkpoint, chunks: Tokens, watcher: Watcher
) -> Collected:
    from ggufactory.calibrate import streamed_pass

    if spec.workers > 1 or spec.ray_address:
        return _on_cluster(spec, checkpoint, chunks, model.largest_bytes, watcher)
    return streamed_pass.run(
        model, chunks, spec.hidden_bytes, lambda layer: watcher.layer_done(layer + 1, model.layer_count)
    )


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
