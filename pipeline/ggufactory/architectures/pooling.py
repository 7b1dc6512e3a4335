"""How an encoder makes one vector of a text's many: sentence-transformers' modules say so.

Source: `_try_set_pooling_type` of llama.cpp's conversion/base.py.
"""

from __future__ import annotations

import posixpath
from typing import Any

from ggufactory.architectures.configuration import Config
from ggufactory.architectures.parameters import Parameters
from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.checkpoint.json_object import clip, parse_json_array, parse_json_object
from ggufactory.errors import InputError

MODULES_FILE = "modules.json"
MAX_BYTES = 1 << 20
_NUMBERS = {"mean": 1, "cls": 2, "lasttoken": 3}
"""llama.cpp's."""
_SWITCHES = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "lasttoken",
}
_POOLING = "pooling of sentence-transformers"
"""In the configuration; config.json has no such key of its own."""


def with_pooling(config: Config, checkpoint: Checkpoint) -> Config:
    """The configuration with what `add_pooling` needs of modules.json and the file that it names. InputError
    where they make no sense, or name another kind of pooling than llama.cpp has."""
    return config | {_POOLING: _read_mode(checkpoint)}


def add_pooling(p: Parameters) -> None:
    """The kind of pooling, and that in front of a classifier."""
    if (mode := p.config[_POOLING]) is not None:
        p.uint32("pooling_type", _NUMBERS[mode])
    if (classifier := p.config.get("classifier_pooling")) is not None:
        if classifier not in ("cls", "mean"):
            raise InputError(f"config.json: classifier_pooling is {clip(classifier)}, wanted 'cls' or 'mean'")
        p.uint32("classifier.pooling_type", _NUMBERS[classifier])


def _read_mode(checkpoint: Checkpoint) -> str | None:
    data = checkpoint.read_file(MODULES_FILE, limit=MAX_BYTES)
    if data is None:
        return None
    file = _pooling_file(parse_json_array(data, MODULES_FILE))
    if file is None:
        return None
    found = checkpoint.store.read(file, limit=MAX_BYTES)
    if found is None:
        raise InputError(
            f"{MODULES_FILE} names {file}, which {checkpoint.store.uri} does not have",
            fix="Copy the folder that belongs to the model",
        )
    settings = parse_json_object(found[0], file)
    mode = next((mode for switch, mode in _SWITCHES.items() if settings.get(switch)), settings.get("pooling_mode"))
    if not isinstance(mode, str) or mode not in _NUMBERS:
        raise InputError(f"{file}: only the pooling modes {', '.join(_NUMBERS)} are supported")
    return mode


def _pooling_file(modules: list[Any]) -> str | None:
    for module in modules:
        if not isinstance(module, dict) or not isinstance(kind := module.get("type"), str):
            raise InputError(f"{MODULES_FILE} holds {clip(module)}, wanted a module with a type")
        if kind.endswith("Pooling"):
            path = module.get("path")
            if not isinstance(path, str):
                raise InputError(f"{MODULES_FILE}: the path of a module is {clip(path)}, wanted a folder's name")
            return posixpath.join(path, "config.json")
    return None
