"""config.json as the converter sees it: through the configuration class that transformers has for it.

The converter reads `AutoConfig.from_pretrained(...).to_dict()`. The class fills in what the file leaves
out, and standardizes the rotary parameters; a file that the class refuses is taken as it is. Behaviour
of transformers 5.23 (`configuration_utils.py`, `modeling_rope_utils.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ggufactory.architectures.rope import is_valid_rope, standard_rope
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError

Config = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ConfigField:
    """One declared field of a configuration class: its default, and what it may hold."""

    default: object
    kinds: tuple[type, ...]

    def accepts(self, value: object) -> bool:
        if isinstance(value, bool):
            return bool in self.kinds
        return isinstance(value, self.kinds)


@dataclass(frozen=True, slots=True)
class ConfigClass:
    """A configuration class of transformers."""

    fields: Mapping[str, ConfigField]
    width_in_heads: bool
    """Whether it refuses a `hidden_size` that is no multiple of `num_attention_heads`."""


NONE = type(None)
_LEGACY_ROPE_KEYS = ("rope_scaling", "rope_theta", "partial_rotary_factor")


def resolve_config(raw: Config, classes: Mapping[str, ConfigClass]) -> Config:
    """The hyperparameters that the converter works with. `classes`: by `model_type`.

    InputError when the file names no `model_type`, or one that is not in `classes`.
    """
    model_type = raw.get("model_type")
    if not isinstance(model_type, str) or model_type not in classes:
        raise InputError(
            f"config.json: model_type is {clip(model_type)}, wanted one of {', '.join(sorted(classes))}",
            fix="Set the model_type that the checkpoint was made with",
        )
    fields = classes[model_type].fields
    config: Config = {name: field.default for name, field in fields.items()} | raw
    if not all(field.accepts(config[name]) for name, field in fields.items()):
        return dict(raw)
    heads, width = config["num_attention_heads"], config["hidden_size"]
    if heads <= 0 or (classes[model_type].width_in_heads and width % heads):
        return dict(raw)
    if "head_dim" in fields and config["head_dim"] is None:
        config["head_dim"] = width // heads
    if config["num_key_value_heads"] is None:
        config["num_key_value_heads"] = heads
    rope = standard_rope(raw, config["max_position_embeddings"])
    if not is_valid_rope(rope, config.get("head_dim")):
        return dict(raw)
    for key in _LEGACY_ROPE_KEYS:
        config.pop(key, None)
    return config | {"rope_parameters": rope}


def first_of(config: Config, *names: str) -> Any:
    """The value of the first of `names` that is there (null included), else None."""
    return next((config[name] for name in names if name in config), None)


def positive_integer(config: Config, *names: str) -> int:
    """The first of `names` that is there. InputError unless it is a whole number from 1 to 2^31 - 1."""
    value = first_of(config, *names)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 1 << 31:
        raise InputError(f"config.json: {names[0]} is {clip(value)}, wanted a positive whole number")
    return value
