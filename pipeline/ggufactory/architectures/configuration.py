"""config.json as the converter sees it: through the configuration class that transformers has for it.

The class fills in what the file leaves out, and standardizes the rotary parameters; a file that no class takes
is used as it is. Never any code from the checkpoint. Source: `ModelBase.load_hparams` and
`TextModel.__init__` of llama.cpp's conversion/base.py.
"""

from __future__ import annotations

import logging
from typing import Any

from ggufactory.architectures.kept_configs import kept
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError

Config = dict[str, Any]

MAX_LAYERS = 10_000
_MAX_NUMBER = 1 << 31
_LAYERS = ("n_layers", "num_hidden_layers", "n_layer", "num_layers")
_TEXT_MODELS = ("llm_config", "lm_config", "language_config", "lfm")


def resolve_config(raw: Config) -> Config:
    """The hyperparameters that the converter works with; of a model of several kinds, its text model's.

    InputError for numbers that no model has: classes make lists as long as they say.
    """
    _check_numbers(raw)
    config = kept(raw, _through_transformers)
    if config is None:
        config = dict(raw)
    for name in _TEXT_MODELS:
        if name in config:
            config["text_config"] = config[name]
    if isinstance(thinker := config.get("thinker_config"), dict):
        config["text_config"] = thinker.get("text_config")
    text = config.get("text_config")
    if text is None:
        return config
    if not isinstance(text, dict):
        raise InputError(f"config.json: text_config is {clip(text)}, wanted an object")
    return config | text


def block_count(config: Config) -> int:
    """InputError unless there is a number of layers."""
    return positive_integer(config, *_LAYERS)


def first_of(config: Config, *names: str) -> Any:
    """The value of the first of `names` that is there (null included), else None."""
    return next((config[name] for name in names if name in config), None)


def positive_integer(config: Config, *names: str) -> int:
    """The first of `names` that is there. InputError unless it is a whole number from 1 to 2^31 - 1."""
    value = first_of(config, *names)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < _MAX_NUMBER:
        raise InputError(f"config.json: {names[0]} is {clip(value)}, wanted a positive whole number")
    return value


def _through_transformers(raw: Config) -> Config | None:
    """None where no class takes it."""
    # Here and not above: it takes seconds to import, and only whoever describes a checkpoint needs it.
    from transformers import CONFIG_MAPPING

    model_type = raw.get("model_type")
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        return None
    # What the class finds strange is told by the checks of the rules, in one message each.
    logging.getLogger("transformers").setLevel(logging.ERROR)
    try:
        resolved: Config = CONFIG_MAPPING[model_type].from_dict(raw).to_dict()
    except Exception:  # noqa: BLE001 - whatever a class raises for a file that it does not take
        return None
    return resolved


def _check_numbers(holder: Config, depth: int = 0) -> None:
    for name, value in holder.items():
        if isinstance(value, dict) and depth < 4:
            _check_numbers(value, depth + 1)
        elif isinstance(value, int) and abs(value) >= 1 << 63:
            raise InputError(f"config.json: {name} is {clip(value)}, which no model has")
        elif name in _LAYERS and isinstance(value, int) and value > MAX_LAYERS:
            raise InputError(f"config.json: {name} is {value}, at most {MAX_LAYERS}")
