"""Unigram vocabularies of XLM-RoBERTa's kind: from sentencepiece.bpe.model, else from tokenizer.json.

Source: `BertModel._xlmroberta_set_vocab` of llama.cpp's conversion/bert.py. What it reads through
transformers' AutoTokenizer is read as that class (5.23) has it.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from ggufactory.architectures.tokenizer.fast_tokenizer import FastTokenizer, load_fast_tokenizer
from ggufactory.architectures.tokenizer.files import JsonObject, TokenizerFiles, object_at
from ggufactory.architectures.tokenizer.pre_tokenizer_names import refuse_name
from ggufactory.architectures.tokenizer.sentencepiece_fields import UNIGRAM, sentencepiece_fields
from ggufactory.architectures.tokenizer.sentencepiece_model import PADDING_SCORE, load_processor, padded_pieces
from ggufactory.architectures.tokenizer.tokenizer_class import class_name
from ggufactory.architectures.tokenizer.vocabulary import TokenType, Vocabulary, vocabulary_size
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError

MODEL_FILE = "sentencepiece.bpe.model"
_FIRST_TOKENS = {
    "<s>": TokenType.CONTROL,
    "<pad>": TokenType.CONTROL,
    "</s>": TokenType.CONTROL,
    "<unk>": TokenType.UNKNOWN,
}
"""transformers puts these in the place of the model's first three, and the rest one id later."""


@dataclass(frozen=True, slots=True)
class UnigramVocabulary:
    """The tokens, and how text is normalized before it is split into them."""

    vocabulary: Vocabulary
    add_space_prefix: object
    remove_extra_whitespaces: object
    charsmap: bytes
    """SentencePiece's compiled table of replacements, empty where there is none."""


def unigram_vocabulary(files: TokenizerFiles, config: dict[str, Any]) -> UnigramVocabulary:
    """InputError where neither file holds a unigram vocabulary."""
    refuse_name(files.pre, "unigram")
    if MODEL_FILE in files.checkpoint.files:
        return _from_sentencepiece(files, config)
    return _from_tokenizer_json(files, config)


def _from_sentencepiece(files: TokenizerFiles, config: dict[str, Any]) -> UnigramVocabulary:
    processor = load_processor(files, MODEL_FILE)
    fields = sentencepiece_fields(processor.serialized_model_proto(), MODEL_FILE)
    if fields.model_type != UNIGRAM:
        raise InputError(f"{MODEL_FILE}: not a unigram model (its model_type is {fields.model_type})")
    size = max(_size(config), processor.vocab_size())
    pieces = padded_pieces(processor, size, MODEL_FILE)
    return UnigramVocabulary(
        Vocabulary(
            "t5",
            "default",
            tokens=[*_FIRST_TOKENS, *pieces.tokens[3:-1]],
            types=[*_FIRST_TOKENS.values(), *pieces.types[3:-1]],
            scores=[0.0] * len(_FIRST_TOKENS) + pieces.scores[3:-1],
        ),
        fields.add_dummy_prefix,
        fields.remove_extra_whitespaces,
        fields.charsmap,
    )


def _from_tokenizer_json(files: TokenizerFiles, config: dict[str, Any]) -> UnigramVocabulary:
    tokenizer = files.tokenizer or {}
    model = object_at(tokenizer, "model", "tokenizer.json")
    if model.get("type") != "Unigram":
        raise InputError(
            f"checkpoint {files.checkpoint.name} has neither {MODEL_FILE} nor a tokenizer.json with a unigram model",
            fix="Copy the tokenizer's files into its folder",
        )
    fast = load_fast_tokenizer(files)
    size = max(_size(config), fast.base_size)
    return UnigramVocabulary(
        _vocabulary(fast, files, model, size),
        files.tokenizer_config.get("add_prefix_space", class_name(files) == "XLMRobertaTokenizer"),
        files.tokenizer_config.get("clean_up_tokenization_spaces", False),
        _charsmap(object_at(tokenizer, "normalizer", "tokenizer.json")),
    )


def _vocabulary(fast: FastTokenizer, files: TokenizerFiles, model: JsonObject, size: int) -> Vocabulary:
    """Tokens of the model, renamed and typed by the added ones. Added ones beyond it are left out."""
    text_by_id = {number: text for text, number in fast.ids.items() if number < fast.base_size}
    text_by_id |= {number: token.content for number, token in fast.added.items() if number < fast.base_size}
    special = {fast.ids[text] for text in fast.special if text in fast.ids}
    unknown = _unknown_id(fast, files, model)
    vocabulary = Vocabulary(
        "t5",
        "default",
        tokens=[f"[PAD{i}]" for i in range(size)],
        types=[TokenType.UNUSED] * size,
        scores=[PADDING_SCORE] * size,
    )
    for number, text in text_by_id.items():
        vocabulary.tokens[number] = text
        vocabulary.scores[number] = model["vocab"][number][1]
        if number == unknown:
            vocabulary.types[number] = TokenType.UNKNOWN
        elif number in special:
            vocabulary.types[number] = TokenType.CONTROL
        else:
            vocabulary.types[number] = TokenType.USER_DEFINED if number in fast.added else TokenType.NORMAL
    return vocabulary


def _unknown_id(fast: FastTokenizer, files: TokenizerFiles, model: JsonObject) -> object:
    """The added token that tokenizer_config.json calls unknown, else the model's own."""
    added = {token.content: number for number, token in fast.added.items()}
    name = files.tokenizer_config.get("unk_token")
    if isinstance(name, dict):
        name = name.get("content")
    return added[name] if isinstance(name, str) and name in added else model.get("unk_id", 3)


def _charsmap(normalizer: JsonObject) -> bytes:
    text = normalizer.get("precompiled_charsmap")
    if not isinstance(text, str):
        raise InputError(
            f"tokenizer.json: the normalizer is {clip(normalizer)}, wanted one with a precompiled_charsmap",
            fix=f"Copy the {MODEL_FILE} that the tokenizer was made from into the folder",
        )
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"tokenizer.json: the precompiled_charsmap is not base64: {error}") from None


def _size(config: dict[str, Any]) -> int:
    return vocabulary_size(config, 1) if "vocab_size" in config else 0
