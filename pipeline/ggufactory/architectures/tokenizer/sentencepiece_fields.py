"""What the sentencepiece library does not tell about a model, read from its file.

The file is a protocol buffers message (`ModelProto` of sentencepiece's sentencepiece_model.proto); of its
fields only these are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ggufactory.errors import InputError

UNIGRAM = 1
_TRAINER, _NORMALIZER = 2, 3
_MODEL_TYPE = 3
_CHARSMAP, _DUMMY_PREFIX, _REMOVE_SPACES = 2, 3, 4
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5


@dataclass(slots=True)
class SentencePieceFields:
    """With the defaults of the fields that a file leaves out."""

    model_type: int = UNIGRAM
    charsmap: bytes = b""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True


def sentencepiece_fields(data: bytes, where: str) -> SentencePieceFields:
    """`where`: the file's name, for messages. InputError where `data` is no such message."""
    found = SentencePieceFields()
    for field, value in _fields(data, where):
        if field == _TRAINER and isinstance(value, bytes):
            for inner, setting in _fields(value, where):
                if inner == _MODEL_TYPE and isinstance(setting, int):
                    found.model_type = setting
        elif field == _NORMALIZER and isinstance(value, bytes):
            for inner, setting in _fields(value, where):
                if inner == _CHARSMAP and isinstance(setting, bytes):
                    found.charsmap = setting
                elif inner == _DUMMY_PREFIX:
                    found.add_dummy_prefix = bool(setting)
                elif inner == _REMOVE_SPACES:
                    found.remove_extra_whitespaces = bool(setting)
    return found


def _fields(data: bytes, where: str) -> Iterator[tuple[int, int | bytes]]:
    """Numbers and values of a message's fields, in the file's order."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at, where)
        kind = key & 7
        if kind == _VARINT:
            number, at = _varint(data, at, where)
            yield key >> 3, number
            continue
        if kind == _BYTES:
            length, at = _varint(data, at, where)
        elif kind in (_FIXED_32, _FIXED_64):
            length = 4 if kind == _FIXED_32 else 8
        else:
            raise _damaged(where)
        if length > len(data) - at:
            raise _damaged(where)
        yield key >> 3, data[at : at + length]
        at += length


def _varint(data: bytes, at: int, where: str) -> tuple[int, int]:
    """A number of seven bits a byte, least first, and where it ends."""
    number = 0
    for shift in range(0, 64, 7):
        if at >= len(data):
            break
        number |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return number, at
    raise _damaged(where)


def _damaged(where: str) -> InputError:
    return InputError(f"{where} is not a SentencePiece model", fix="The file is damaged: download it again")
