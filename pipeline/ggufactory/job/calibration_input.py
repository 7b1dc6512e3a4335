"""What a calibration starts from: a checkpoint and texts, read and checked before the model runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from ggufactory import __version__
from ggufactory.architectures import ConversionOptions, describe
from ggufactory.architectures.model import Model
from ggufactory.calibrate.text.corpus import Corpus, Text, cut_corpus, read_text
from ggufactory.calibrate.text.tokenizer import tokenizer_of
from ggufactory.checkpoint import Checkpoint, open_source
from ggufactory.errors import InputError

_WEIGHTS_AND_TOKENS = (".safetensors", ".model", ".tiktoken")
_NAMED = ("config.json", "merges.txt", "vocab.json", "added_tokens.json", "special_tokens_map.json", "tekken.json")


@dataclass(frozen=True, slots=True)
class CalibrationInput:
    checkpoint: Checkpoint
    texts: tuple[Text, ...]
    pre_tokenizer: str | None

    def fingerprint(self, *settings: object) -> str:
        """The same for the same files of the checkpoint, texts, release and `settings`; in hexadecimal."""
        files = [[i.name, i.size, i.etag] for _, i in sorted(self.checkpoint.files.items()) if is_of_model(i.name)]
        texts = [[text.name, text.sha256] for text in self.texts]
        told = json.dumps([__version__, files, texts, self.pre_tokenizer, settings])
        return hashlib.sha256(told.encode()).hexdigest()

    def describe(self) -> Model:
        """What the converter makes of the checkpoint. InputError for models that are not calibrated."""
        described = describe(self.checkpoint, ConversionOptions(pre_tokenizer=self.pre_tokenizer))
        if any(kv.key.endswith(".attention.causal") and kv.value is False for kv in described.metadata):
            raise InputError(f"{self.checkpoint.name} is an encoder; only models that predict text are calibrated")
        return described

    def cut(self, described: Model, *, context: int, limit: int | None) -> Corpus:
        """The texts in chunks of the model's tokens; `limit`: so many at most. InputError as `cut_corpus`."""
        return cut_corpus(self.texts, tokenizer_of(described.metadata), context=context, limit=limit)


def read_input(source: str, texts: Sequence[str], *, pre_tokenizer: str | None = None) -> CalibrationInput:
    """InputError for a source that is no checkpoint, and for texts as `read_text` refuses them."""
    checkpoint = open_source(source)
    if not isinstance(checkpoint, Checkpoint):
        raise InputError(
            f"{source} is a GGUF file; calibration runs the model of a checkpoint",
            fix="Give the checkpoint that it was converted from, or use llama-imatrix",
        )
    return CalibrationInput(checkpoint, tuple(read_text(uri) for uri in texts), pre_tokenizer)


def is_of_model(file: str) -> bool:
    """Not what else lies in the folder, such as the artifacts of a job whose target it is."""
    return file.endswith(_WEIGHTS_AND_TOKENS) or file.startswith("tokenizer") or file in _NAMED
