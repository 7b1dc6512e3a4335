"""What a family of architectures declares, and the one way from a checkpoint to its model.

A family is a table of tensors and the few rules of its own. What the converter does for every text model
is here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod

from gguf.utility import size_label

from ggufactory.architectures.configuration import Config, block_count, resolve_config
from ggufactory.architectures.faults import Faults
from ggufactory.architectures.general import add_general
from ggufactory.architectures.key_values import KeyValues
from ggufactory.architectures.model import Model, OutputTensor
from ggufactory.architectures.nvfp4_scales import add_precisions, scale_tensors, without_scales
from ggufactory.architectures.options import USUAL, ConversionOptions
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.tensor_names import Rename, renamed, text_name
from ggufactory.architectures.tensor_rules import EVERY_LAYER, Layers, TensorRule, output_tensors
from ggufactory.architectures.tokenizer.files import TokenizerFiles
from ggufactory.architectures.transforms import Sizes
from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.checkpoint.json_object import clip
from ggufactory.checkpoint.packing import unpacked
from ggufactory.checkpoint.weight_tensor import WeightTensor
from ggufactory.errors import PlanError

QUANTIZATION_VERSION = 2
_FILE_TYPES = (("NVFP4", 39), ("MXFP4", 38), ("BF16", 32), ("F32", 0))
"""llama.cpp's number for a converted file that holds such tensors; the first that it holds counts."""

Rules = tuple[TensorRule, ...]


def _same(config: Config) -> Config:
    return config


def _as_settled(config: Config, checkpoint: Checkpoint) -> Config:
    return config


def _every_layer(config: Config) -> Layers:
    return {EVERY_LAYER: range(block_count(config))}


def _as_declared(rules: Rules, config: Config) -> Rules:
    return rules


def _nothing(config: Config) -> tuple[OutputTensor, ...]:
    return ()


def _no_parameters(p: Parameters) -> None:
    return


@dataclass(frozen=True, slots=True)
class Family:
    """Architectures that are converted by the same rules. The functions raise InputError."""

    architecture: str
    """GGUF's name."""
    classes: tuple[str, ...]
    """Hugging Face's, as `architectures` in config.json names them."""
    tensors: Rules
    sizes: Callable[[Config], Sizes]
    """The sizes that the table of tensors names."""
    add_parameters: Callable[[Parameters], None]
    """The `<architecture>.*` keys and `general.file_type`, in the converter's order."""
    add_vocabulary: Callable[[KeyValues, TokenizerFiles, Config], None]
    settle: Callable[[Config], Config] = _same
    """The resolved configuration with what the family means by it: renamed or missing hyperparameters."""
    from_files: Callable[[Config, Checkpoint], Config] = _as_settled
    """The settled configuration with what the family reads from files beside config.json."""
    layers: Callable[[Config], Layers] = _every_layer
    """The sets of blocks that the table names."""
    rename: Rename = text_name
    adjust: Callable[[Rules, Config], Rules] = _as_declared
    """The table for one model: tied embeddings and the like."""
    computed: Callable[[Config], tuple[OutputTensor, ...]] = _nothing
    """Tensors that come from the configuration alone."""
    add_early_parameters: Callable[[Parameters], None] = _no_parameters
    """The keys that the converter writes while it makes the computed tensors: before all but the architecture."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Keys of config.json that, where they hold anything, mean a model that these rules would get wrong; why."""

    def describe(self, checkpoint: Checkpoint, raw: Config, options: ConversionOptions = USUAL) -> Model:
        """PlanError that lists everything that is wrong."""
        if refused := [(key, why) for key, why in self.refused.items() if raw.get(key)]:
            raise PlanError([f"config.json has {key} = {clip(raw[key])}: {why}" for key, why in refused])
        config = self.from_files(self.settle(resolve_config(raw)), checkpoint)
        block_count(config)
        faults = Faults()
        tensors: tuple[OutputTensor, ...] = ()
        with faults.gathered():
            tensors = (*self.computed(config), *self._tensors(checkpoint, config, options))
        out = KeyValues()
        out.text("general.architecture", self.architecture)
        parameters = Parameters(out, self.architecture, config, _file_type(tensors))
        with faults.gathered():
            self.add_early_parameters(parameters)
        with faults.gathered():
            weights = count_weights(tensors)
            add_general(out, checkpoint, weights.total, weights.size_label(), options.metadata)
        with faults.gathered():
            self.add_parameters(parameters)
        out.uint32("general.quantization_version", QUANTIZATION_VERSION)
        with faults.gathered():
            add_precisions(out, checkpoint, config, tensors)
        with faults.gathered():
            self.add_vocabulary(out, TokenizerFiles.of(checkpoint, options.pre_tokenizer), config)
        faults.raise_any()
        return Model(self.architecture, out.entries(), tensors)

    def _tensors(self, checkpoint: Checkpoint, config: Config, options: ConversionOptions) -> tuple[OutputTensor, ...]:
        weights, scales = without_scales(unpacked(checkpoint, config))
        tensors = self._placed(weights, config, exact=options.exact_source)
        return (*tensors, *scale_tensors(checkpoint, tensors, scales))

    def tensors_of(
        self, checkpoint: Checkpoint, raw: Config, weights: Mapping[str, WeightTensor]
    ) -> tuple[OutputTensor, ...]:
        """What becomes of `weights`, which stand for the checkpoint's. PlanError as `describe`."""
        return self._placed(weights, self.from_files(self.settle(resolve_config(raw)), checkpoint), exact=False)

    def _placed(self, weights: Mapping[str, WeightTensor], config: Config, *, exact: bool) -> tuple[OutputTensor, ...]:
        return output_tensors(
            renamed(weights, self.rename, config),
            self.adjust(self.tensors, config),
            self.sizes(config),
            self.layers(config),
            exact=exact,
        )


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


def _file_type(tensors: tuple[OutputTensor, ...]) -> int:
    held = {tensor.converted_type for tensor in tensors}
    return next((number for kind, number in _FILE_TYPES if kind in held), 0)
