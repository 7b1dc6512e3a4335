"""What a family of architectures declares, and the one way from a checkpoint to its model.

A family is a table of tensors, a table of configuration classes, and the few rules of its own. What the
converter does for every text model is here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from gguf.utility import size_label

from ggufactory.architectures.configuration import Config, ConfigClass, positive_integer, resolve_config
from ggufactory.architectures.faults import Faults
from ggufactory.architectures.general import add_general
from ggufactory.architectures.key_values import KeyValues
from ggufactory.architectures.model import Model, OutputTensor
from ggufactory.architectures.rope import rope_parameters
from ggufactory.architectures.tensor_rules import TensorRule, output_tensors
from ggufactory.architectures.text_parameters import add_text_parameters
from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import PlanError

QUANTIZATION_VERSION = 2
MAX_BLOCKS = 10_000


@dataclass(frozen=True, slots=True)
class Family:
    """Architectures that are converted by the same rules."""

    architecture: str
    """GGUF's name."""
    classes: tuple[str, ...]
    """Hugging Face's, as `architectures` in config.json names them."""
    config_classes: Mapping[str, ConfigClass]
    refused_config: Mapping[str, str]
    """Keys of config.json that, where they hold anything, mean a model that these rules would get wrong; why."""
    refused_files: Mapping[str, str]
    tensors: tuple[TensorRule, ...]
    sizes: Callable[[Config], Mapping[str, int]]
    """The sizes that the table of tensors names. Gets the resolved configuration; InputError."""
    adjust: Callable[[tuple[TensorRule, ...], Config], tuple[TensorRule, ...]]
    """The table for one model: tied embeddings and the like."""
    computed: Callable[[Config, dict[str, Any]], tuple[OutputTensor, ...]]
    """Tensors that come from the configuration and its rotary parameters alone."""
    add_parameters: Callable[[KeyValues, Config], None]
    """The metadata of its own, after that of every text model."""
    add_vocabulary: Callable[[KeyValues, Checkpoint, Config], None]

    def describe(self, checkpoint: Checkpoint, raw: Config) -> Model:
        """PlanError that lists everything that is wrong."""
        self._refuse_unhandled(checkpoint, raw)
        config = resolve_config(raw, self.config_classes)
        block_count = positive_integer(config, "num_hidden_layers", "n_layers", "n_layer", "num_layers")
        if block_count > MAX_BLOCKS:
            raise PlanError([f"config.json: num_hidden_layers is {block_count}, at most {MAX_BLOCKS}"])
        faults = Faults()
        tensors: tuple[OutputTensor, ...] = ()
        with faults.gathered():
            rules = self.adjust(self.tensors, config)
            tensors = output_tensors(checkpoint.tensors, rules, self.sizes(config), block_count)
            tensors = (*self.computed(config, rope_parameters(config)), *tensors)
        out = KeyValues()
        out.text("general.architecture", self.architecture)
        with faults.gathered():
            weights = count_weights(tensors)
            add_general(out, checkpoint, weights.total, weights.size_label())
        with faults.gathered():
            add_text_parameters(out, self.architecture, config, rope_parameters(config), block_count)
        with faults.gathered():
            self.add_parameters(out, config)
        out.uint32("general.quantization_version", QUANTIZATION_VERSION)
        with faults.gathered():
            self.add_vocabulary(out, checkpoint, config)
        faults.raise_any()
        return Model(self.architecture, out.entries(), tensors)

    def _refuse_unhandled(self, checkpoint: Checkpoint, raw: Config) -> None:
        faults = [
            f"config.json has {key} = {clip(raw[key])}: {why}"
            for key, why in self.refused_config.items()
            if raw.get(key)
        ]
        faults += [f"{name}: {why}" for name, why in self.refused_files.items() if name in checkpoint.files]
        if faults:
            raise PlanError(faults)


@dataclass(frozen=True, slots=True)
class WeightCount:
    """Numbers of weights, as gguf-py's `get_total_parameter_count` counts them."""

    total: int
    shared: int
    per_expert: int
    experts: int

    def size_label(self) -> str:
        label: str = size_label(self.total, self.shared, self.per_expert, self.experts)
        return label


def count_weights(tensors: tuple[OutputTensor, ...]) -> WeightCount:
    shared = per_expert = 0
    experts = []
    for tensor in tensors:
        size = prod(tensor.shape)
        if "_exps." in tensor.name and len(tensor.shape) >= 3:
            experts.append(tensor.shape[-3])
            per_expert += size // tensor.shape[-3]
        else:
            shared += size
    total = sum(prod(tensor.shape) for tensor in tensors)
    return WeightCount(total, shared, per_expert, sum(experts) // len(experts) if experts else 0)
