"""What an evaluation starts from: a checkpoint and texts, read and checked before a model runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from ggufactory.architectures import ConversionOptions, describe
from ggufactory.architectures.model import Model
from ggufactory.calibrate.text.corpus import Corpus, Text, cut_corpus, read_text
from ggufactory.calibrate.text.tokenizer import tokenizer_of
from ggufactory.checkpoint import Checkpoint, open_source
from ggufactory.errors import InputError
from ggufactory.job.evaluation_spec import EvaluationSpec

_WHAT = "evaluation text"


@dataclass(frozen=True, slots=True)
class EvaluationInput:
    checkpoint: Checkpoint
    described: Model
    """What the converter makes of the checkpoint."""
    texts: tuple[Text, ...]

    def cut(self, spec: EvaluationSpec) -> Corpus:
        """The texts in chunks of the model's tokens. InputError as `cut_corpus`."""
        return cut_corpus(self.texts, tokenizer_of(self.described.metadata), context=spec.context, limit=spec.chunks)


def read_input(spec: EvaluationSpec) -> EvaluationInput:
    """InputError for a source that is no checkpoint or does not predict text, and for texts as `read_text` refuses
    them."""
    checkpoint = open_source(spec.source)
    if not isinstance(checkpoint, Checkpoint):
        raise InputError(
            f"{spec.source} is a GGUF file; rungs are compared with the checkpoint that they were made from",
            fix="Give the folder of safetensors as the source",
        )
    described = describe(checkpoint, ConversionOptions(pre_tokenizer=spec.pre_tokenizer))
    if any(kv.key.endswith(".attention.causal") and kv.value is False for kv in described.metadata):
        raise InputError(f"{checkpoint.name} is an encoder; only models that predict text are evaluated")
    return EvaluationInput(checkpoint, described, read_texts(spec))


def read_texts(spec: EvaluationSpec) -> tuple[Text, ...]:
    return tuple(read_text(uri, _WHAT) for uri in spec.texts)


def fingerprint(spec: EvaluationSpec, texts: Sequence[Text], sums: Sequence[str]) -> str:
    """Equal for evaluations that find the same figures of a rung; in hexadecimal. `sums`: SHA-256 of its files."""
    settings = [spec.context, spec.chunks, spec.compute_dtype, spec.activations, spec.pre_tokenizer]
    told = json.dumps([[[text.name, text.sha256] for text in texts], settings, list(sums)])
    return hashlib.sha256(told.encode()).hexdigest()
