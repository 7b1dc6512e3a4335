"""From a ladder, its checkpoint and texts to the quality of every rung: the main flow of `ggufactory evaluate`."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ggufactory.calibrate.text.corpus import Text
from ggufactory.checkpoint.whole_rows import read_whole, reader_of
from ggufactory.evaluate.rung_file import RungFile
from ggufactory.job.evaluation_input import EvaluationInput, fingerprint, read_input
from ggufactory.job.evaluation_rungs import open_rungs, record
from ggufactory.job.evaluation_spec import EvaluationSpec, Watcher
from ggufactory.publish.signing import Signer
from ggufactory_kernels import dequantize

if TYPE_CHECKING:
    from ggufactory.evaluate.divergence import Quality


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What an evaluation ended with."""

    rungs: Mapping[str, Quality]
    """By the rung's name, the largest first."""
    sizes: Mapping[str, int]
    """Bytes of each rung's files."""
    chunks: int


def evaluate(spec: EvaluationSpec, watcher: Watcher, signer: Signer | None = None) -> Evaluated:
    """Compare every rung with the source, and tell it in the manifests and cards of the targets, signed by `signer`.

    InputError for a rung that is missing or of another model, for a source or a text that cannot be used, and where
    there is state of another evaluation; IncompleteError when a worker failed for good; what the stores and the cluster
    raise. What was done by then is found again by the next call.
    """
    given = read_input(spec)
    files = open_rungs(spec.places, spec.ladder, spec.name)
    for file in files:
        file.check_model(given.described.tensors)
        _check_numbers(file, given)
    corpus = given.cut(spec)
    for name in sorted(_calibrated_with(files, given.texts)):
        watcher.warn(f"rungs were made with an importance matrix of {name}, too: over it their figures flatter them")
    # Here and not above: PyTorch and transformers take seconds to import.
    from ggufactory.evaluate.divergence import quality
    from ggufactory.job.evaluation_run import EvaluationRun

    run = EvaluationRun(spec, given.checkpoint, files, corpus.chunks, watcher)
    found = run.compare()
    told = {file.name: quality(positions) for file, positions in zip(files, found, strict=True)}
    how = {
        "texts": [{"name": text.name, "sha256": text.sha256} for text in given.texts],
        "context": spec.context,
        "chunks": len(corpus.chunks),
        "compute_dtype": spec.compute_dtype,
        "activations": spec.activations,
    }
    listed = {
        file.name: asdict(told[file.name]) | how | {"fingerprint": fingerprint(spec, given.texts, file.sums)}
        for file in files
    }
    record(spec.places, spec.name, files, listed, signer, watcher.warn)
    run.end()
    return Evaluated(told, {file.name: file.size for file in files}, len(corpus.chunks))


def _check_numbers(file: RungFile, given: EvaluationInput) -> None:
    """By a vector that no rung changes: the cheapest to read that tells two models apart."""
    for output in reversed(given.described.tensors):
        plain = len(output.shape) == 1 and len(output.sources) == 1 and not output.row_map and not output.value_map
        if plain and file.type_of(output.name) == "F32":
            rows = output.sources[0]
            read = read_whole(rows, reader_of(given.checkpoint))
            file.check_numbers(output, dequantize(read, rows.dtype, rows.columns))
            return


def _calibrated_with(files: Sequence[RungFile], texts: Sequence[Text]) -> set[str]:
    """Those of the texts that are called like what the importance matrix of a file was made with."""
    matrices = {posixpath.basename(file.calibrated_with) for file in files if file.calibrated_with}
    return {text.name for text in texts} & matrices
