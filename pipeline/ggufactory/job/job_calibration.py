"""The importance matrix of a job that makes its own: TARGET/NAME.imatrix.gguf, found again, promised or made.

A plan is made before the matrix is, on a promise of it: its entries follow from the model, and no type, size or file
name follows from its values. So everything that can be refused is refused before the model runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ggufactory.architectures.model import Model
from ggufactory.calibrate.imatrix import ImportanceMatrix, read_importance_matrix
from ggufactory.calibrate.unreached_layers import block_matrices
from ggufactory.errors import InputError
from ggufactory.job.calibration_input import CalibrationInput, read_input
from ggufactory.job.calibration_job import calibrate, fingerprint, most_chunks
from ggufactory.job.calibration_spec import CalibrationSpec
from ggufactory.job.job_spec import JobSpec
from ggufactory.storage.protocol import Store

SUFFIX = ".imatrix.gguf"


class Watcher(Protocol):
    """Who is told how a job's calibration goes."""

    def calibrated(self, done: int, total: int, what: str) -> None:
        """So many of the layers, or of the shares of the text, are done."""

    def tick(self) -> None: ...

    def warn(self, message: str) -> None: ...


def importance_of(job: JobSpec, name: str, target: Store | None) -> ImportanceMatrix:
    """The matrix that the job's calibration left in the target, or a promise of it. `name`: of the job's files.

    InputError for what cannot be calibrated, and for a file of the matrix's name that no calibration made.
    """
    spec = _spec(job, name, target)
    given = read_input(spec.source, spec.texts, pre_tokenizer=spec.pre_tokenizer)
    there = target.stat(name + SUFFIX) if target else None
    if there is None:
        return _promised(spec, given, name)
    found = read_importance_matrix(spec.to)
    if found.record is None:
        raise InputError(
            f"{spec.to} is there, and was made by no calibration of a job",
            fix="Use it with --imatrix instead of a calibration, or move it away, or give another --name",
        )
    if found.record.fingerprint == fingerprint(spec, given):
        return found
    return _promised(spec, given, name, " in place of the one of another text, model or setting that is there")


def make_matrix(job: JobSpec, name: str, target: Store, watcher: Watcher) -> None:
    """Run the calibration, and write the matrix into the target."""
    calibrate(_spec(job, name, target), _Progress(watcher))


def _spec(job: JobSpec, name: str, target: Store | None) -> CalibrationSpec:
    settings = job.calibration
    assert settings is not None
    given: dict[str, Any] = {
        "context": settings.context,
        "compute_dtype": settings.compute_dtype,
        "hidden_bytes": settings.hidden_bytes,
    }
    return CalibrationSpec(
        source=job.source,
        texts=settings.texts,
        to=(f"{target.uri}/" if target else "") + name + SUFFIX,
        chunks=settings.chunks,
        coverage=settings.coverage,
        pre_tokenizer=job.pre_tokenizer,
        ray_address=job.ray_address,
        replaces=True,
        **{field: value for field, value in given.items() if value is not None},
    )


def _promised(spec: CalibrationSpec, given: CalibrationInput, name: str, instead: str = "") -> ImportanceMatrix:
    described = given.describe()
    chunks = len(given.cut(described, context=spec.context, limit=most_chunks(spec)).chunks)
    texts = ", ".join(text.name for text in given.texts)
    return ImportanceMatrix(
        file=name + SUFFIX,
        sha256="",
        datasets=tuple(text.name for text in given.texts),
        chunk_count=chunks,
        entries=_entries_to_come(described),
        unseen={},
        promise=f"planned on the promise of {name}{SUFFIX}, which `quantize` makes first{instead}: "
        f"{chunks} chunks of {spec.context} tokens of {texts}",
    )


def _entries_to_come(described: Model) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Shapes alone: they take no memory."""
    shapes = {t.name: (t.rows // t.rows_per_matrix, t.columns) for t in block_matrices(described.tensors)}
    return {entry: np.broadcast_to(np.float32(1), shape) for entry, shape in sorted(shapes.items())}


class _Progress:
    """A calibration's watcher that tells the job's."""

    def __init__(self, watcher: Watcher) -> None:
        self.tick: Callable[[], None] = watcher.tick
        self.warn: Callable[[str], None] = watcher.warn
        self._calibrated = watcher.calibrated

    def planned(self, how: str) -> None:
        """Of interest to whoever divides a calibration by hand."""

    def advanced(self, done: int, total: int) -> None:
        """Layers are told."""

    def layer_done(self, done: int, layers: int) -> None:
        self._calibrated(done, layers, "layers")

    def share_done(self, done: int, shares: int) -> None:
        self._calibrated(done, shares, "shares of the text")
