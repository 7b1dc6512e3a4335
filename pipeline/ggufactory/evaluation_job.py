"""From a ladder, its checkpoint and texts to the quality of every rung: the main flow of `ggufactory evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ggufactory.architectures import ConversionOptions, describe
from ggufactory.architectures.model import Model
from ggufactory.architectures.origins import origins
from ggufactory.calibrate.text.corpus import read_corpus
from ggufactory.calibrate.text.tokenizer import tokenizer_of
from ggufactory.checkpoint import Checkpoint, open_source
from ggufactory.checkpoint.whole_rows import read_whole
from ggufactory.errors import InputError
from ggufactory.evaluate.rung_file import RungFile
from ggufactory.evaluate.rungs import open_rungs
from ggufactory_kernels import dequantize

if TYPE_CHECKING:
    from ggufactory.evaluate.divergence import Quality

DEFAULT_CONTEXT = 512
"""Tokens of a chunk; llama-perplexity's own."""
DEFAULT_HIDDEN_BYTES = 2 << 30
COMPUTE_DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSpec:
    """InputError on construction for values that cannot be meant."""

    places: tuple[str, ...]
    """Targets and GGUF files."""
    source: str
    texts: tuple[str, ...]
    ladder: tuple[str, ...] = ()
    """Of targets, these rungs alone."""
    context: int = DEFAULT_CONTEXT
    chunks: int | None = None
    """At most so many; None: as many as the texts have."""
    compute_dtype: str = "float32"
    hidden_bytes: int = DEFAULT_HIDDEN_BYTES
    """Hidden states kept in memory, of all models together; more are kept in temporary files."""
    pre_tokenizer: str | None = None

    def __post_init__(self) -> None:
        if self.compute_dtype not in COMPUTE_DTYPES:
            raise InputError(f"compute dtype: wanted one of {', '.join(COMPUTE_DTYPES)}, found {self.compute_dtype!r}")
        if self.context < 4:
            raise InputError(f"context: wanted 4 tokens or more, found {self.context}")


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What an evaluation ended with."""

    rungs: Mapping[str, Quality]
    """By the rung's name, the largest first."""
    sizes: Mapping[str, int]
    """Bytes of each rung's files."""
    chunks: int


class Watcher(Protocol):
    """Who is told how an evaluation goes."""

    def layer_done(self, done: int, layers: int) -> None: ...


def evaluate(spec: EvaluationSpec, watcher: Watcher) -> Evaluated:
    """Compare every rung with the source.

    InputError for a rung that is missing or of another model, and for a source or a text that cannot be used; what
    the stores raise.
    """
    checkpoint = open_source(spec.source)
    if not isinstance(checkpoint, Checkpoint):
        raise InputError(
            f"{spec.source} is a GGUF file; rungs are compared with the checkpoint that they were made from",
            fix="Give the folder of safetensors as --source",
        )
    described = describe(checkpoint, ConversionOptions(pre_tokenizer=spec.pre_tokenizer))
    files = open_rungs(spec.places, spec.ladder)
    for file in files:
        file.check_model(described.tensors)
        _check_numbers(file, checkpoint, described)
    corpus = read_corpus(spec.texts, tokenizer_of(described.metadata), context=spec.context, limit=spec.chunks)
    # Here and not above: PyTorch and transformers take seconds to import.
    import torch

    from ggufactory.evaluate import evaluation_pass
    from ggufactory.evaluate.divergence import quality
    from ggufactory.evaluate.rung_model import Kept, RungModel, SourceModel

    dtype, places = getattr(torch, spec.compute_dtype), origins(checkpoint)
    kept: Kept = {}
    source = SourceModel(checkpoint, dtype, places, kept)
    rungs = [RungModel(checkpoint, dtype, places, kept, file) for file in files]
    found = evaluation_pass.run(
        source,
        rungs,
        kept,
        corpus.chunks,
        spec.hidden_bytes,
        lambda layer: watcher.layer_done(layer + 1, source.layer_count),
    )
    return Evaluated(
        {file.name: quality(positions) for file, positions in zip(files, found, strict=True)},
        {file.name: file.size for file in files},
        len(corpus.chunks),
    )


def _check_numbers(file: RungFile, checkpoint: Checkpoint, described: Model) -> None:
    """By a vector that no rung changes: the cheapest to read that tells two models apart."""
    for output in reversed(described.tensors):
        plain = len(output.shape) == 1 and len(output.sources) == 1 and not output.row_map and not output.value_map
        if plain and file.is_kept(output.name):
            rows = output.sources[0]
            file.check_numbers(output, dequantize(read_whole(checkpoint, rows), rows.dtype, rows.columns))
            return
