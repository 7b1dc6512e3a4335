"""Which files of a folder hold the weights: the index's, or those that the reference's pattern matches.

As `ModelBase.index_tensors` of llama.cpp's converter (conversion/base.py): with a
`model.safetensors.index.json` the files that it names, otherwise every `model*.safetensors`, in name order.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase

from ggufactory.checkpoint.json_object import clip, parse_json_object
from ggufactory.errors import InputError

INDEX_NAME = "model.safetensors.index.json"

_PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth")
_NUMBERED = re.compile(r"(model.*)-(\d{5})-of-(\d{5})\.safetensors")
_INCOMPLETE = "The checkpoint was not copied completely; get the missing files"


def parse_index(data: bytes) -> dict[str, str]:
    """The weight map of an index file: tensor name -> name of a file in the same folder."""
    weight_map = parse_json_object(data, INDEX_NAME).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
        raise InputError(f"{INDEX_NAME}: weight_map must map tensor names to file names, but is {clip(weight_map)}")
    for file in sorted(set(weight_map.values())):
        if file in ("", ".", "..") or "/" in file or "\\" in file or not file.isprintable():
            raise InputError(
                f"{INDEX_NAME} names the file {clip(file)}, which is not in the checkpoint's folder",
                fix="Its files must lie beside the index",
            )
    return weight_map


def weight_files(folder: str, files: Collection[str], weight_map: Mapping[str, str] | None) -> list[str]:
    """The names of the safetensors files to read, sorted; `files` are all names in `folder`."""
    if weight_map is not None:
        names = sorted(set(weight_map.values()))
        missing = [name for name in names if name not in files]
        if missing:
            raise InputError(f"{folder}: {INDEX_NAME} names {listed(missing, 'file')} not there", fix=_INCOMPLETE)
    else:
        names = sorted(name for name in files if fnmatchcase(name, "model*.safetensors"))
        _check_numbers(folder, names)
    if not names:
        raise _no_weights(folder, files)
    return names


def check_index(weight_map: Mapping[str, str], tensors: Collection[str]) -> None:
    """The index and the files name the same tensors; in which file each lies is the files' own word."""
    missing = sorted(weight_map.keys() - tensors)
    extra = sorted(set(tensors) - weight_map.keys())
    if missing:
        raise InputError(
            f"{INDEX_NAME} names {listed(missing, 'tensor')} that its files do not hold (should be in "
            f"{clip(weight_map[missing[0]])})",
            fix=_INCOMPLETE,
        )
    if extra:
        raise InputError(
            f"the files hold {listed(extra, 'tensor')} that {INDEX_NAME} does not name",
            fix="The index belongs to another set of files; get the checkpoint again",
        )


def listed(names: Iterable[str], noun: str) -> str:
    """How many and which: "2 files ('a', 'b')", the first few of them."""
    shown = list(names)
    dots = ", ..." if len(shown) > 3 else ""
    return f"{len(shown):,} {noun}{'s' * (len(shown) > 1)} ({', '.join(map(clip, shown[:3]))}{dots})"


def _check_numbers(folder: str, names: Iterable[str]) -> None:
    """Without an index, "-00001-of-00003" still tells how many files there must be."""
    sets: dict[tuple[str, str], set[int]] = {}
    for name in names:
        if numbered := _NUMBERED.fullmatch(name):
            stem, number, count = numbered.groups()
            sets.setdefault((stem, count), set()).add(int(number))
    for (stem, count), numbers in sets.items():
        missing = [
            f"{stem}-{number:05d}-of-{count}.safetensors"
            for number in range(1, int(count) + 1)
            if number not in numbers
        ]
        if missing:
            raise InputError(f"{folder}: {listed(missing, 'file')} not there", fix=_INCOMPLETE)


def _no_weights(folder: str, files: Collection[str]) -> InputError:
    pickles = sorted(name for name in files if any(fnmatchcase(name, pattern) for pattern in _PICKLES))
    if pickles:
        return InputError(
            f"{folder} holds pickle files ({clip(pickles[0])}), which can run any code when they are read; "
            "only safetensors are accepted",
            fix="Where you trust them, load them with transformers and write them with "
            "model.save_pretrained(folder, safe_serialization=True)",
        )
    if gguf := sorted(name for name in files if name.endswith(".gguf")):
        return InputError(
            f"{folder} holds no safetensors files, but GGUF files ({clip(gguf[0])})",
            fix="Give such a file itself (of a split, the first)",
        )
    return InputError(
        f"{folder} holds no weights: there is no model*.safetensors among its {len(files)} files",
        fix="Give the folder of a Hugging Face checkpoint",
    )
