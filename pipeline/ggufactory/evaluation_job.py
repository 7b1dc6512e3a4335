"""From a ladder, its checkpoint and texts to the quality of every rung: the main flow of `ggufactory evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ggufactory.architectures import ConversionOptions, describe
from ggufactory.architectures.model import Model
from ggufactory.calibrate.text.corpus import cut_corpus, read_text
from ggufactory.calibrate.text.tokenizer import tokenizer_of
from ggufactory.checkpoint import Checkpoint, open_source
from ggufactory.checkpoint.whole_rows import read_whole, reader_of
from ggufactory.errors import InputError
from ggufactory.evaluate.rung_file import RungFile
from ggufactory.evaluation_rungs import open_rungs, record
from ggufactory.evaluation_spec import EvaluationSpec, Watcher
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


def evaluate(spec: EvaluationSpec, watcher: Watcher) -> Evaluated:
    """Compare every rung with the source, and tell it in the manifests and cards of the targets.

    InputError for a rung that is missing or of another model, for a source or a text that cannot be used, and where
    there is state of another evaluation; IncompleteError when a worker failed for good; what the stores and the cluster
    raise. What was done by then is found again by the next call.
    """
    checkpoint = open_source(spec.source)
    if not isinstance(checkpoint, Checkpoint):
        raise InputError(
            f"{spec.source} is a GGUF file; rungs are compared with the checkpoint that they were made from",
            fix="Give the folder of safetensors as --source",
        )
    described = describe(checkpoint, ConversionOptions(pre_tokenizer=spec.pre_tokenizer))
    files = open_rungs(spec.places, spec.ladder, spec.name)
    for file in files:
        file.check_model(described.tensors)
        _check_numbers(file, checkpoint, described)
    texts = [read_text(uri) for uri in spec.texts]
    corpus = cut_corpus(texts, tokenizer_of(described.metadata), context=spec.context, limit=spec.chunks)
    # Here and not above: PyTorch and transformers take seconds to import.
    from ggufactory.evaluate.divergence import quality
    from ggufactory.evaluation_run import EvaluationRun

    run = EvaluationRun(spec, checkpoint, files, corpus.chunks, watcher)
    found = run.compare()
    told = {file.name: quality(positions) for file, positions in zip(files, found, strict=True)}
    how = {
        "texts": [{"name": text.name, "sha256": text.sha256} for text in texts],
        "context": spec.context,
        "chunks": len(corpus.chunks),
        "compute_dtype": spec.compute_dtype,
    }
    record(spec.places, spec.name, {name: asdict(figures) | how for name, figures in told.items()}, watcher.warn)
    run.end()
    return Evaluated(
        told,
        {file.name: file.size for file in files},
        len(corpus.chunks),
    )


def _check_numbers(file: RungFile, checkpoint: Checkpoint, described: Model) -> None:
    """By a vector that no rung changes: the cheapest to read that tells two models apart."""
    for output in reversed(described.tensors):
        plain = len(output.shape) == 1 and len(output.sources) == 1 and not output.row_map and not output.value_map
        if plain and file.type_of(output.name) == "F32":
            rows = output.sources[0]
            file.check_numbers(output, dequantize(read_whole(rows, reader_of(checkpoint)), rows.dtype, rows.columns))
            return
