"""The classifier on top of an encoder: one layer or two, and the names of its classes.

Source: `BertModel` of llama.cpp's conversion/bert.py.
"""

from __future__ import annotations

from typing import Any

from ggufactory.architectures.configuration import Config
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.tensor_rules import TensorRule
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError

_ONLY_LAYER = "classifier"
_LAST_LAYER = "classifier.out_proj"


def _layer(source: str, name: str, rows: str) -> TensorRule:
    return TensorRule(f"{source}.weight", f"{name}.weight", (rows, "width"), optional=True, may_have_bias=True)


CLASSIFIER = (
    _layer("classifier.dense", "cls", "width"),
    _layer("pre_classifier", "cls", "width"),
    _layer("head.dense", "cls", "width"),
    _layer(_ONLY_LAYER, "cls", "labels"),
    _layer(_LAST_LAYER, "cls.output", "labels"),
)


def rename_classifier(name: str, config: Config) -> str:
    """The only layer of a classifier is its last where its classes have names, else, to llama.cpp, its first."""
    if _labels(config) and name in (f"{_ONLY_LAYER}.weight", f"{_ONLY_LAYER}.bias"):
        return name.replace(_ONLY_LAYER, _LAST_LAYER)
    return name


def label_count(config: Config) -> int:
    """Of classes, named or not."""
    return len(_stored_labels(config)) or 1


def add_labels(p: Parameters) -> None:
    """The names of the classes, if they have any."""
    if labels := _labels(p.config):
        p.texts("classifier.output_labels", [labels[number] for number in sorted(labels)])


def _labels(config: Config) -> dict[int, Any]:
    """transformers makes up two where config.json has none."""
    labels = _stored_labels(config)
    return {} if len(labels) == 2 and labels.get(0) == "LABEL_0" else labels


def _stored_labels(config: Config) -> dict[int, Any]:
    labels = config.get("id2label") or {}
    if not isinstance(labels, dict):
        raise InputError(f"config.json: id2label is {clip(labels)}, wanted an object")
    try:
        return {int(number): label for number, label in labels.items()}
    except ValueError:
        raise InputError(f"config.json: id2label has the keys {clip(list(labels))}, wanted numbers") from None
