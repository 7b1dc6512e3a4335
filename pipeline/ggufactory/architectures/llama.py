"""LLaMA 1 and 2, Alpaca, Llama 3.x, Mistral 7B, Mistral Large 2: dense models with rotary positions.

Source: `LlamaModel` of llama.cpp's conversion/llama.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ggufactory.architectures.configuration import (
    NONE,
    Config,
    ConfigClass,
    ConfigField,
    first_of,
    positive_integer,
)
from ggufactory.architectures.family import Family
from ggufactory.architectures.key_values import KeyValues
from ggufactory.architectures.model import OutputTensor
from ggufactory.architectures.rope import full_attention, llama3_factors
from ggufactory.architectures.tensor_rules import TensorRule
from ggufactory.architectures.tokenizer.choice import add_first_vocabulary
from ggufactory.architectures.tokenizer.files import TokenizerFiles
from ggufactory.architectures.tokenizer.special_tokens import add_special_tokens
from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.errors import InputError

_HEAD = "model.layers.{}.self_attn."
_MLP = "model.layers.{}.mlp."
TENSORS = (
    TensorRule("model.embed_tokens.weight", "token_embd.weight", ("vocabulary", "width")),
    TensorRule("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", ("width",)),
    TensorRule(
        _HEAD + "q_proj.weight", "blk.{}.attn_q.weight", ("queries", "width"), may_have_bias=True, rope_heads="heads"
    ),
    TensorRule(
        _HEAD + "k_proj.weight", "blk.{}.attn_k.weight", ("keys", "width"), may_have_bias=True, rope_heads="kv_heads"
    ),
    TensorRule(_HEAD + "v_proj.weight", "blk.{}.attn_v.weight", ("keys", "width"), may_have_bias=True),
    TensorRule(_HEAD + "o_proj.weight", "blk.{}.attn_output.weight", ("width", "queries"), may_have_bias=True),
    TensorRule("model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight", ("width",)),
    TensorRule(_MLP + "gate_proj.weight", "blk.{}.ffn_gate.weight", ("inner", "width"), may_have_bias=True),
    TensorRule(_MLP + "up_proj.weight", "blk.{}.ffn_up.weight", ("inner", "width"), may_have_bias=True),
    TensorRule(_MLP + "down_proj.weight", "blk.{}.ffn_down.weight", ("width", "inner"), may_have_bias=True),
    TensorRule("model.norm.weight", "output_norm.weight", ("width",)),
    TensorRule("lm_head.weight", "output.weight", ("vocabulary", "width")),
)

_LLAMA_FIELDS = {
    "vocab_size": ConfigField(32000, (int,)),
    "hidden_size": ConfigField(4096, (int,)),
    "intermediate_size": ConfigField(11008, (int,)),
    "num_hidden_layers": ConfigField(32, (int,)),
    "num_attention_heads": ConfigField(32, (int,)),
    "num_key_value_heads": ConfigField(None, (int, NONE)),
    "hidden_act": ConfigField("silu", (str,)),
    "max_position_embeddings": ConfigField(2048, (int,)),
    "initializer_range": ConfigField(0.02, (float,)),
    "rms_norm_eps": ConfigField(1e-6, (float,)),
    "use_cache": ConfigField(True, (bool,)),
    "pad_token_id": ConfigField(None, (int, NONE)),
    "bos_token_id": ConfigField(1, (int, NONE)),
    "eos_token_id": ConfigField(2, (int, list, NONE)),
    "pretraining_tp": ConfigField(1, (int, NONE)),
    "tie_word_embeddings": ConfigField(False, (bool,)),
    "attention_bias": ConfigField(False, (bool,)),
    "attention_dropout": ConfigField(0.0, (int, float, NONE)),
    "mlp_bias": ConfigField(False, (bool,)),
    "head_dim": ConfigField(None, (int, NONE)),
}
_MISTRAL_FIELDS = {
    name: field for name, field in _LLAMA_FIELDS.items() if name not in ("pretraining_tp", "attention_bias", "mlp_bias")
} | {
    "intermediate_size": ConfigField(14336, (int,)),
    "num_key_value_heads": ConfigField(8, (int,)),
    "max_position_embeddings": ConfigField(131072, (int,)),
    "attention_dropout": ConfigField(0.0, (int, float)),
    "sliding_window": ConfigField(4096, (int, NONE)),
}

_PACKED = "packed and quantized checkpoints are not supported"
_EXPERTS = "mixtures of experts are not supported by this architecture"
_DRAFT = "draft models are not supported"
_NESTED = "multimodal and nested configurations are not supported"
REFUSED_CONFIG = {
    "quantization_config": _PACKED,
    "compression_config": _PACKED,
    "num_local_experts": _EXPERTS,
    "num_experts": _EXPERTS,
    "n_routed_experts": _EXPERTS,
    "draft_vocab_size": _DRAFT,
    "transformer_layer_config": _DRAFT,
    "text_config": _NESTED,
    "llm_config": _NESTED,
    "lm_config": _NESTED,
    "thinker_config": _NESTED,
    "language_config": _NESTED,
    "per_layer_config": "layers that differ from each other are not supported",
}
REFUSED_FILES = {
    "hf_quant_config.json": _PACKED,
    "quantize_config.json": _PACKED,
    "quant_config.json": _PACKED,
}

CODE_LLAMA_VOCABULARY = 32016
_CODE_LLAMA_END_OF_INFILL = 32010
GRANITE_VOCABULARY = 49152
MAX_HEAD_DIM = 4096


def _sizes(config: Config) -> Mapping[str, int]:
    width = positive_integer(config, "hidden_size")
    heads = positive_integer(config, "num_attention_heads", "n_heads")
    kv_heads = heads
    if first_of(config, "num_key_value_heads", "n_kv_heads") is not None:
        kv_heads = positive_integer(config, "num_key_value_heads", "n_kv_heads")
    head_dim = _head_dim(config)
    return {
        "vocabulary": positive_integer(config, "vocab_size"),
        "width": width,
        "inner": positive_integer(config, "intermediate_size"),
        "heads": heads,
        "kv_heads": kv_heads,
        "queries": heads * head_dim,
        "keys": kv_heads * head_dim,
    }


def _head_dim(config: Config) -> int:
    if config.get("head_dim") is not None:
        size = positive_integer(config, "head_dim")
    else:
        size = positive_integer(config, "hidden_size") // positive_integer(config, "num_attention_heads")
    if size % 2 or not 0 < size <= MAX_HEAD_DIM:
        raise InputError(f"config.json: heads of {size} rows, wanted an even number up to {MAX_HEAD_DIM}")
    return size


def _adjust(rules: tuple[TensorRule, ...], config: Config) -> tuple[TensorRule, ...]:
    """With tied embeddings the output matrix need not be there."""
    if config.get("tie_word_embeddings") is not True:
        return rules
    return tuple(replace(r, optional=True) if r.source == "lm_head.weight" else r for r in rules)


def _computed(config: Config, rope: dict[str, Any]) -> tuple[OutputTensor, ...]:
    full = full_attention(rope)
    if str(full.get("rope_type", "")).lower() != "llama3":
        return ()
    head_dim = _head_dim(config)
    values = llama3_factors(full, head_dim)
    return (OutputTensor("rope_freqs.weight", (head_dim // 2,), "F32", values=values),)


def _add_parameters(out: KeyValues, config: Config) -> None:
    out.uint32("llama.vocab_size", config.get("vocab_size"))
    out.uint32("llama.rope.dimension_count", _head_dim(config))


def _add_vocabulary(out: KeyValues, checkpoint: Checkpoint, config: Config) -> None:
    files = TokenizerFiles.of(checkpoint)
    if (add_prefix_space := files.tokenizer_config.get("add_prefix_space")) is not None:
        out.boolean("tokenizer.ggml.add_space_prefix", add_prefix_space)
    add_first_vocabulary(out, files, config)
    vocabulary = config.get("vocab_size", 32000)
    if vocabulary == CODE_LLAMA_VOCABULARY:
        # Of Code Llama's infilling tokens only the one that ends it has a key.
        defaults = {"eot": _CODE_LLAMA_END_OF_INFILL}
        add_special_tokens(out, files, kinds=("prefix", "suffix", "middle", "eot"), defaults=defaults)
    if vocabulary == GRANITE_VOCABULARY:
        out.boolean("tokenizer.ggml.add_bos_token", False)


LLAMA = Family(
    architecture="llama",
    classes=("LlamaForCausalLM", "LLaMAForCausalLM", "MistralForCausalLM"),
    config_classes={
        "llama": ConfigClass(_LLAMA_FIELDS, width_in_heads=True),
        "mistral": ConfigClass(_MISTRAL_FIELDS, width_in_heads=False),
    },
    refused_config=REFUSED_CONFIG,
    refused_files=REFUSED_FILES,
    tensors=TENSORS,
    sizes=_sizes,
    adjust=_adjust,
    computed=_computed,
    add_parameters=_add_parameters,
    add_vocabulary=_add_vocabulary,
)
