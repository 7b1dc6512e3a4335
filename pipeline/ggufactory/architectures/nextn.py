"""Layers that predict further tokens (multi-token prediction), stored behind those of the model.

The converter counts them as blocks wherever config.json names them. The tensors may be missing: fine-tuned
checkpoints often leave them out, and llama.cpp loads such files.
"""

from __future__ import annotations

from dataclasses import replace

from ggufactory.architectures.common_tensors import LAYER, linear, norm
from ggufactory.architectures.configuration import MAX_LAYERS, Config, block_count
from ggufactory.architectures.expert_sizes import whole_number
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.tensor_names import block_of
from ggufactory.architectures.tensor_rules import TensorRule
from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.errors import InputError

NEXTN = "nextn"
_MAIN_LAYERS = "main_layers"
_STORED_LAYERS = "stored_layers"

_SHARED_HEAD = TensorRule(
    LAYER + "shared_head.head.weight", "blk.{}.nextn.shared_head_head.weight", ("vocabulary", "width"), layers=NEXTN
)
NEXTN_TENSORS = (
    linear("eh_proj", "nextn.eh_proj", ("width", "width_twice"), layers=NEXTN, bias=False),
    *(replace(norm(name, f"nextn.{name}"), layers=NEXTN) for name in ("enorm", "hnorm")),
    replace(norm("shared_head.norm", "nextn.shared_head_norm"), layers=NEXTN, optional=True),
    replace(_SHARED_HEAD, optional=True),
    replace(
        _SHARED_HEAD,
        source=LAYER + "embed_tokens.weight",
        name="blk.{}.nextn.embed_tokens.weight",
        optional=True,
    ),
)
"""They need the size "width_twice". Head and embeddings are the model's where they are not there."""


def with_nextn_layers(config: Config, count: int, *, stored: bool) -> Config:
    """`config` with the blocks that predict further tokens among its own. `stored`: their tensors are there."""
    main = block_count(config)
    if main + count > MAX_LAYERS:
        raise InputError(f"config.json: {main} layers and {count} more, at most {MAX_LAYERS:,}")
    # What the number of blocks is read from before anything else.
    return config | {"n_layers": main + count, _MAIN_LAYERS: main, _STORED_LAYERS: main + count if stored else main}


def from_files(config: Config, checkpoint: Checkpoint) -> Config:
    """With the layers that `num_nextn_predict_layers` says, numbered on from the model's."""
    main = block_count(config)
    stored = any((block_of(name) or 0) >= main for name in checkpoint.tensors)
    return with_nextn_layers(config, whole_number(config, "num_nextn_predict_layers", 0), stored=stored)


def main_layers(config: Config) -> int:
    """The layers of the model itself."""
    count: int = config[_MAIN_LAYERS]
    return count


def nextn_layers(config: Config) -> int:
    return block_count(config) - main_layers(config)


def stored_blocks(config: Config) -> range:
    """The blocks whose tensors are there."""
    return range(config[_STORED_LAYERS])


def stored_nextn_blocks(config: Config) -> range:
    return range(main_layers(config), config[_STORED_LAYERS])


def add_nextn_parameters(p: Parameters) -> None:
    if p.config.get("num_nextn_predict_layers") is not None:
        p.uint32("nextn_predict_layers", nextn_layers(p.config))
