"""SentencePiece: tokenizer.model, with the tokens that other files add to it.

Source: `_create_vocab_sentencepiece` of llama.cpp's conversion/base.py.
"""

from __future__ import annotations

from typing import Any

from sentencepiece import SentencePieceProcessor

from ggufactory.architectures.tokenizer.files import TokenizerFiles, added_tokens_decoder, token_id
from ggufactory.architectures.tokenizer.pre_tokenizer_names import refuse_name
from ggufactory.architectures.tokenizer.vocabulary import TokenType, Vocabulary, looks_special, vocabulary_size
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError

MODEL_FILE = "tokenizer.model"
MAX_MODEL_BYTES = 64 << 20
ADDED_SCORE = -1000.0
PADDING_SCORE = -10000.0


def sentencepiece_vocabulary(files: TokenizerFiles, config: dict[str, Any]) -> Vocabulary:
    """InputError where tokenizer.model is no SentencePiece model, or an added token makes no sense."""
    vocabulary = model_vocabulary(files, config)
    for number, entry in added_tokens_decoder(files):
        text = entry["content"]
        if number >= len(vocabulary.tokens):
            continue
        if entry.get("special") or looks_special(text):
            vocabulary.types[number] = TokenType.CONTROL
        else:
            text = text.replace("▁", " ")
            vocabulary.types[number] = TokenType.USER_DEFINED
        vocabulary.scores[number] = ADDED_SCORE
        vocabulary.tokens[number] = text
    return vocabulary


def model_vocabulary(files: TokenizerFiles, config: dict[str, Any]) -> Vocabulary:
    """The tokens of tokenizer.model and added_tokens.json, padded to config.json's `vocab_size`."""
    if MODEL_FILE not in files.checkpoint.files:
        raise InputError(
            f"checkpoint {files.checkpoint.name} has no {MODEL_FILE}",
            fix="Copy the tokenizer's files into its folder",
        )
    refuse_name(files.pre, "SentencePiece")
    processor = load_processor(files, MODEL_FILE)
    size = vocabulary_size(config, processor.vocab_size())
    vocabulary = padded_pieces(processor, size, MODEL_FILE)
    _add_tokens(vocabulary, files)
    return vocabulary


def load_processor(files: TokenizerFiles, name: str) -> SentencePieceProcessor:
    """`name`: a file of the checkpoint. InputError where it is no SentencePiece model."""
    data = files.checkpoint.read_file(name, limit=MAX_MODEL_BYTES)
    assert data is not None, name
    processor = SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(data)
    except RuntimeError:
        raise InputError(
            f"{name} is not a SentencePiece model",
            fix="Llama 3 keeps another format in tokenizer.model: remove it, and provide tokenizer.json",
        ) from None
    return processor


def padded_pieces(processor: SentencePieceProcessor, size: int, name: str) -> Vocabulary:
    """The first `size` pieces of a model, padded where it has fewer. `name`: the file's, for messages."""
    vocabulary = Vocabulary(
        "llama",
        "default",
        tokens=[f"[PAD{i}]" for i in range(size)],
        types=[TokenType.UNUSED] * size,
        scores=[PADDING_SCORE] * size,
    )
    for number in range(min(size, processor.vocab_size())):
        try:
            vocabulary.tokens[number] = processor.IdToPiece(number)
        except UnicodeDecodeError:
            raise InputError(f"{name}: token {number} is not UTF-8") from None
        vocabulary.scores[number] = processor.GetScore(number)
        vocabulary.types[number] = _type(processor, number)
    return vocabulary


def _type(processor: SentencePieceProcessor, number: int) -> TokenType:
    if processor.IsUnknown(number):
        return TokenType.UNKNOWN
    if processor.IsControl(number):
        return TokenType.CONTROL
    if processor.IsUnused(number):
        return TokenType.UNUSED
    if processor.IsByte(number):
        return TokenType.BYTE
    return TokenType.NORMAL


def _add_tokens(vocabulary: Vocabulary, files: TokenizerFiles) -> None:
    """added_tokens.json: text to id. Ids beyond the vocabulary are left out."""
    for text, value in files.added_tokens.items():
        number = token_id(value, f"added_tokens.json, {clip(text)}")
        if number < len(vocabulary.tokens):
            vocabulary.tokens[number] = text
            vocabulary.scores[number] = ADDED_SCORE
            vocabulary.types[number] = TokenType.USER_DEFINED
