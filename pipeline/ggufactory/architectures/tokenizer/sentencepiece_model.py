"""SentencePiece: tokenizer.model, with the tokens that other files add to it.

Source: `_create_vocab_sentencepiece` of llama.cpp's conversion/base.py.
"""

from __future__ import annotations

from typing import Any

from sentencepiece import SentencePieceProcessor

from ggufactory.architectures.tokenizer.files import TokenizerFiles, object_at, token_id
from ggufactory.architectures.tokenizer.vocabulary import TokenType, Vocabulary, looks_special, vocabulary_size
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError

MODEL_FILE = "tokenizer.model"
MAX_MODEL_BYTES = 64 << 20
ADDED_SCORE = -1000.0
PADDING_SCORE = -10000.0


def sentencepiece_vocabulary(files: TokenizerFiles, config: dict[str, Any]) -> Vocabulary:
    """InputError where tokenizer.model is no SentencePiece model, or an added token makes no sense."""
    processor = _load(files)
    size = vocabulary_size(config, processor.vocab_size())
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
            raise InputError(f"{MODEL_FILE}: token {number} is not UTF-8") from None
        vocabulary.scores[number] = processor.GetScore(number)
        vocabulary.types[number] = _type(processor, number)
    _add_tokens(vocabulary, files)
    _add_configured_tokens(vocabulary, files)
    return vocabulary


def _load(files: TokenizerFiles) -> SentencePieceProcessor:
    data = files.checkpoint.read_file(MODEL_FILE, limit=MAX_MODEL_BYTES)
    assert data is not None, MODEL_FILE
    processor = SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(data)
    except RuntimeError:
        raise InputError(
            f"{MODEL_FILE} is not a SentencePiece model",
            fix="Llama 3 keeps its own format under that name: remove it, and provide tokenizer.json",
        ) from None
    return processor


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


def _add_configured_tokens(vocabulary: Vocabulary, files: TokenizerFiles) -> None:
    """`added_tokens_decoder` of tokenizer_config.json: id to what the token is."""
    where = "tokenizer_config.json, added_tokens_decoder"
    decoder = object_at(files.tokenizer_config, "added_tokens_decoder", "tokenizer_config.json")
    for key in decoder:
        number = token_id(int(key) if key.isascii() and key.isdecimal() and len(key) < 11 else key, where)
        entry = object_at(decoder, key, where)
        text = entry.get("content")
        if not isinstance(text, str):
            raise InputError(f"{where}: token {number} has the content {clip(text)}, wanted text")
        if number >= len(vocabulary.tokens):
            continue
        if entry.get("special") or looks_special(text):
            vocabulary.types[number] = TokenType.CONTROL
        else:
            text = text.replace("▁", " ")
            vocabulary.types[number] = TokenType.USER_DEFINED
        vocabulary.scores[number] = ADDED_SCORE
        vocabulary.tokens[number] = text
