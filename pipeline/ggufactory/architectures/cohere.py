"""Command R, Command R+, Aya 23 and Command R7B: one norm in front of attention and feed-forward network,
embeddings as the output.

Source: `CommandR2Model` and `Cohere2Model` of llama.cpp's conversion/command_r.py.
"""

from __future__ import annotations

import numpy as np

from ggufactory.architectures.common_tensors import EMBEDDINGS, LAYER, OUTPUT_NORM, attention, gated_mlp, norm
from ggufactory.architectures.configuration import Config, first_of, positive_integer
from ggufactory.architectures.family import Family
from ggufactory.architectures.parameters import Parameters
from ggufactory.architectures.rope import share_of
from ggufactory.architectures.sizes import transformer_sizes
from ggufactory.architectures.tensor_names import text_name
from ggufactory.architectures.tensor_rules import TensorRule
from ggufactory.architectures.text_parameters import add_text_parameters
from ggufactory.architectures.tokenizer import vocabularies
from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.errors import InputError

MAX_BIAS_BYTES = 1 << 20
_NUMBERS = {"F16": "<f2", "F32": "<f4", "BF16": "<u2"}
"""BF16 as integers of its size, of which only the positive zero is zero."""

COHERE2_TENSORS = (EMBEDDINGS, OUTPUT_NORM, norm("input_layernorm", "attn_norm"), *attention(), *gated_mlp())
COHERE_TENSORS = (
    *COHERE2_TENSORS,
    TensorRule(LAYER + "self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight", ("heads", "head"), optional=True),
    TensorRule(LAYER + "self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight", ("kv_heads", "head"), optional=True),
)


def _check_biases(config: Config, checkpoint: Checkpoint) -> Config:
    """llama.cpp's model has none: some checkpoints hold biases, all of them zero. InputError for others."""
    for tensor in checkpoint.tensors.values():
        name = text_name(tensor.name, config)
        if name is None or not name.endswith(".bias"):
            continue
        if tensor.dtype not in _NUMBERS or tensor.nbytes > MAX_BIAS_BYTES:
            raise InputError(f"tensor {tensor.name} is {tensor.dtype} of {tensor.nbytes:,} bytes, which is no bias")
        data = bytearray(tensor.nbytes)
        checkpoint.store.read_into(
            tensor.file, tensor.offset, memoryview(data), etag=checkpoint.files[tensor.file].etag
        )
        if np.any(np.frombuffer(data, _NUMBERS[tensor.dtype])):
            raise InputError(f"tensor {tensor.name} is not zero: llama.cpp's model of this architecture has no biases")
    return config


def _rename_cohere2(name: str, config: Config) -> str | None:
    return None if name.endswith(".bias") else text_name(name, config)


def _trained_length(config: Config) -> Config:
    """Longer than `max_position_embeddings` of some models says."""
    return config | {"max_position_embeddings": first_of(config, "model_max_length", "max_position_embeddings")}


def _add_cohere_parameters(p: Parameters) -> None:
    add_text_parameters(p)
    p.float32("logit_scale", p.config.get("logit_scale"))
    p.text("rope.scaling.type", "none")


def _add_cohere2_parameters(p: Parameters) -> None:
    add_text_parameters(p)
    p.float32("logit_scale", p.config.get("logit_scale"))
    p.uint32("attention.sliding_window", p.config.get("sliding_window"))
    p.uint32("vocab_size", p.config.get("vocab_size"))
    head = positive_integer(p.config, "hidden_size") // positive_integer(p.config, "num_attention_heads")
    p.uint32("rope.dimension_count", share_of(head, "rotary_pct", p.config.get("rotary_pct")))
    p.text("rope.scaling.type", "none")


COHERE = Family(
    architecture="command-r",
    classes=("CohereForCausalLM",),
    tensors=COHERE_TENSORS,
    sizes=transformer_sizes,
    settle=_trained_length,
    add_parameters=_add_cohere_parameters,
    add_vocabulary=vocabularies.byte_level,
)
COHERE2 = Family(
    architecture="cohere2",
    classes=("Cohere2ForCausalLM",),
    tensors=COHERE2_TENSORS,
    sizes=transformer_sizes,
    from_files=_check_biases,
    rename=_rename_cohere2,
    add_parameters=_add_cohere2_parameters,
    add_vocabulary=vocabularies.byte_level,
)
