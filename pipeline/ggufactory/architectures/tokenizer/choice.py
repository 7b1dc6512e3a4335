"""Which kind of vocabulary a checkpoint has, where its family leaves that open."""

from __future__ import annotations

from typing import Any

from ggufactory.architectures.key_values import KeyValues
from ggufactory.architectures.tokenizer.byte_fallback_bpe import (
    byte_fallback_vocabulary,
    is_byte_fallback_bpe,
)
from ggufactory.architectures.tokenizer.byte_level_bpe import byte_level_vocabulary
from ggufactory.architectures.tokenizer.fast_tokenizer import load_fast_tokenizer
from ggufactory.architectures.tokenizer.files import TokenizerFiles
from ggufactory.architectures.tokenizer.sentencepiece_model import MODEL_FILE, sentencepiece_vocabulary
from ggufactory.architectures.tokenizer.special_tokens import add_special_tokens
from ggufactory.architectures.tokenizer.vocabulary import Vocabulary, add_vocabulary
from ggufactory.errors import InputError


def add_first_vocabulary(out: KeyValues, files: TokenizerFiles, config: dict[str, Any]) -> None:
    """SentencePiece where there is tokenizer.model, else what tokenizer.json holds; with special tokens.

    Source: `LlamaModel.set_vocab` of llama.cpp's conversion/llama.py.
    """
    names = files.checkpoint.files
    if "tekken.json" in names and "tokenizer.json" not in names:
        raise InputError(
            "tekken.json: Mistral's own tokenizer format is not supported",
            fix="Give the Hugging Face version of the model, which has a tokenizer.json",
        )
    if MODEL_FILE in names:
        add_limited(out, files, sentencepiece_vocabulary(files, config))
    elif files.tokenizer is None:
        raise InputError(
            f"checkpoint {files.checkpoint.name} has neither {MODEL_FILE} nor tokenizer.json",
            fix="Copy the tokenizer's files into its folder",
        )
    elif is_byte_fallback_bpe(files):
        add_limited(out, files, byte_fallback_vocabulary(files))
    else:
        add_vocabulary(out, byte_level_vocabulary(files, config, load_fast_tokenizer(files)))
        add_special_tokens(out, files)


def add_limited(out: KeyValues, files: TokenizerFiles, vocabulary: Vocabulary) -> None:
    """A vocabulary, and those of its special tokens whose ids it has."""
    add_vocabulary(out, vocabulary)
    add_special_tokens(out, files, tokens=len(vocabulary.tokens))
