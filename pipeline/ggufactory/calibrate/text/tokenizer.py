"""A model's own tokenizer, from the metadata of its GGUF file, with the tokens that llama.cpp gives.

Not the checkpoint's tokenizer.json: llama.cpp normalizes nothing and splits by its own rules, and an importance
matrix is llama-imatrix's only where the tokens are.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Protocol

from ggufactory.calibrate.text.bpe import MergedBytes
from ggufactory.calibrate.text.pre_tokenizers import PRE_TOKENIZERS, PreTokenizer
from ggufactory.calibrate.text.spm import ScoredPieces
from ggufactory.calibrate.text.user_defined import UserDefined
from ggufactory.calibrate.text.vocabulary import Vocabulary, read_vocabulary
from ggufactory.container.metadata import KeyValue
from ggufactory.errors import InputError

_FIX = "Make the importance matrix with llama-imatrix, and give it with --imatrix"
_DEFAULT_EOS = {"llama": 2, "gpt2": 11}
_ENCODERS = {"bert": "WordPiece", "t5": "unigram"}


class _Encoder(Protocol):
    def encode(self, text: str, *, after_token: bool) -> list[int]: ...


class Tokenizer:
    """Text to ids. Immutable but for what it remembers of words that it has met."""

    def __init__(self, vocabulary: Vocabulary, encoder: _Encoder, bos: tuple[int | None, bool]) -> None:
        """`bos`: the token that begins texts, and whether it is added."""
        self.bos_id, self.adds_bos = bos
        self.adds_eos = vocabulary.flag("add_eos_token", False)
        self.eos_id = vocabulary.token_id("eos_token_id", _DEFAULT_EOS.get(vocabulary.kind))
        self._user_defined = UserDefined(vocabulary)
        self._encoder = encoder
        for added, token, name in ((self.adds_bos, self.bos_id, "bos"), (self.adds_eos, self.eos_id, "eos")):
            if added and token is None:
                raise InputError(
                    f"the vocabulary adds a token to texts that it has not: tokenizer.ggml.{name}_token_id"
                )

    def encode(self, text: str) -> list[int]:
        """The text's tokens, nothing added: `llama_tokenize` with `parse_special` and `add_special` false."""
        found: list[int] = []
        after_token = True
        for part in self._user_defined.split(text):
            if isinstance(part, int):
                found.append(part)
            else:
                found += self._encoder.encode(part, after_token=after_token)
            after_token = isinstance(part, int)
        return found

    def encode_whole(self, text: str) -> list[int]:
        """The same, with the tokens that begin and end texts where the vocabulary adds them."""
        begins = [self.bos_id] if self.adds_bos and self.bos_id is not None else []
        ends = [self.eos_id] if self.adds_eos and self.eos_id is not None else []
        return [*begins, *self.encode(text), *ends]


def tokenizer_of(metadata: Sequence[KeyValue]) -> Tokenizer:
    """The tokenizer that a model's metadata describes.

    InputError for metadata that contradicts itself, for encoders' vocabularies, and for kinds and pre-tokenizers
    that are not known here.
    """
    vocabulary = read_vocabulary(metadata)
    if vocabulary.kind == "llama":
        bos = vocabulary.token_id("bos_token_id", 1)
        return Tokenizer(vocabulary, ScoredPieces(vocabulary), (bos, vocabulary.flag("add_bos_token", True)))
    if vocabulary.kind in ("gpt2", "gemma4"):
        pre = _pre_tokenizer(vocabulary)
        default = 11 if pre.has_default_bos and vocabulary.kind == "gpt2" else None
        adds_bos = pre.is_gemma_4 or vocabulary.flag("add_bos_token", pre.adds_bos)
        return Tokenizer(
            vocabulary, MergedBytes(vocabulary, pre), (vocabulary.token_id("bos_token_id", default), adds_bos)
        )
    if vocabulary.kind in _ENCODERS:
        raise InputError(
            f"tokenizer.ggml.model is {vocabulary.kind!r}: models with {_ENCODERS[vocabulary.kind]} vocabularies are "
            "encoders, which are not calibrated",
            fix=_FIX,
        )
    raise InputError(
        f"tokenizer.ggml.model is {vocabulary.kind[:80]!r}; known here are 'llama', 'gpt2' and 'gemma4'",
        fix=_FIX,
    )


def _pre_tokenizer(vocabulary: Vocabulary) -> PreTokenizer:
    name = "gemma4" if vocabulary.kind == "gemma4" else vocabulary.text("pre") or "default"
    if name not in PRE_TOKENIZERS:
        near = get_close_matches(name[:80], PRE_TOKENIZERS)
        raise InputError(
            f"tokenizer.ggml.pre is {name[:80]!r}, a pre-tokenizer that is not known here"
            + f"; near: {', '.join(near)}" * bool(near),
            fix=_FIX,
        )
    return PRE_TOKENIZERS[name]
