"""How GGUF files are called: the files of a split, and the model that a file's name tells."""

from __future__ import annotations

import re

from ggufactory.errors import InputError

_PART = re.compile(r"-(\d{5,})-of-(\d{5,})\.gguf")
_PLAIN_TYPE = re.compile(r"[-._](BF16|F16|FP16|F32|FP32)", re.IGNORECASE)
SUFFIX = ".gguf"


def part_names(name: str, count: int) -> list[str]:
    """The files of the split of `count` that `name` is one of. As `llama_split_path` of llama.cpp."""
    match = _PART.search(name)
    if match is None or match.end() != len(name) or int(match[2]) != count:
        raise InputError(
            f"{name} is of a split of {count} files, but is not called so",
            fix=f"Give it back its name: NAME-00001-of-{count:05d}{SUFFIX} for the first",
        )
    prefix = name[: match.start()]
    return [f"{prefix}-{number:05d}-of-{count:05d}{SUFFIX}" for number in range(1, count + 1)]


def model_name(name: str) -> str:
    """What the files made of this one are called: without the number of a split, and without the type
    where that is a plain one, as in "Llama-3.1-8B-BF16.gguf". A quantized type stays: it tells what the
    weights have been through."""
    match = _PART.search(name)
    stem = name[: match.start()] if match and match.end() == len(name) else name.removesuffix(SUFFIX)
    plain = list(_PLAIN_TYPE.finditer(stem))
    if plain and plain[-1].end() == len(stem):
        stem = stem[: plain[-1].start()]
    return stem.lstrip(".") or "model"
