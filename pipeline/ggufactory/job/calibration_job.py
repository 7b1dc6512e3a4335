"""From a checkpoint and texts to an importance matrix: the main flow of `ggufactory calibrate`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ggufactory import __version__
from ggufactory.calibrate.completed import complete
from ggufactory.calibrate.coverage import count_experts, next_chunks, thin_experts
from ggufactory.calibrate.imatrix_file import write_imatrix
from ggufactory.calibrate.record import CalibrationRecord, encode_record
from ggufactory.calibrate.sums import ActivationSums, ImatrixFile
from ggufactory.job.calibration_input import CalibrationInput, read_input
from ggufactory.job.calibration_spec import CalibrationSpec, Watcher

if TYPE_CHECKING:
    from ggufactory.calibrate.collected import Collected
    from ggufactory.job.calibration_run import CalibrationRun


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What a calibration ended with."""

    imatrix: ImatrixFile
    record: CalibrationRecord
    tokens: int
    bytes_read: int
    """Of the checkpoint's tensors, by all workers of this run."""

    @property
    def perplexity(self) -> float:
        """Of the model on the texts, over the second half of each chunk."""
        return self.record.perplexity


def calibrate(spec: CalibrationSpec, watcher: Watcher) -> Calibrated:
    """Write the importance matrix.

    InputError for a source or a text that cannot be used, and where there is state of another calibration of the same
    name; IncompleteError when a worker failed for good; what the stores and the cluster raise. What was done by then
    is found again by the next call.
    """
    given = read_input(spec.source, spec.texts, pre_tokenizer=spec.pre_tokenizer)
    described = given.describe()
    chunks = given.cut(described, context=spec.context, limit=most_chunks(spec)).chunks
    # Here and not above: PyTorch and transformers take seconds to import.
    from ggufactory.calibrate.entries import entries
    from ggufactory.job.calibration_run import CalibrationRun

    run = CalibrationRun(spec, given.checkpoint, chunks, watcher)

    def entries_of(collected: Collected) -> dict[str, ActivationSums]:
        return entries(collected, described.tensors, run.model.targets)

    collected, done = _until_covered(spec, run, len(chunks), entries_of, watcher)
    completed = complete(entries_of(collected), described.tensors, run.model.layer_count, spec.coverage)
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
    run.end()
    return Calibrated(matrix, record, chunks[:done].size, collected.bytes_read)


def most_chunks(spec: CalibrationSpec) -> int | None:
    """That the calibration may come to; None: as many as the texts have."""
    return spec.coverage.most_chunks if spec.coverage.policy == "more" else spec.chunks


def fingerprint(spec: CalibrationSpec, given: CalibrationInput) -> str:
    """Of the matrix: equal for calibrations that make the same file."""
    return given.fingerprint(spec.context, spec.chunks, spec.compute_dtype, asdict(spec.coverage))


def _until_covered(
    spec: CalibrationSpec,
    run: CalibrationRun,
    chunks: int,
    entries_of: Callable[[Collected], Mapping[str, ActivationSums]],
    watcher: Watcher,
) -> tuple[Collected, int]:
    """What was collected, and of how many of the `chunks`: more than asked for where coverage wants it."""
    done = min(spec.chunks or chunks, chunks)
    collected = run.collect(0, done)
    wanted = spec.coverage.tokens
    while spec.coverage.policy == "more" and (thin := thin_experts(entries_of(collected), wanted)):
        experts = count_experts(thin)
        if done == chunks:
            watcher.warn(f"{experts} saw fewer than {wanted} tokens, and there are no further chunks")
            break
        further = next_chunks(done, chunks)
        watcher.warn(f"{experts} saw fewer than {wanted} tokens in {done} chunks: on to {further}")
        collected.add(run.collect(done, further))
        done = further
    return collected, done
