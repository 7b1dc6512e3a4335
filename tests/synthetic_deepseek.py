"""DeepSeek V3 by its headers: 671 billion FP8 weights in 163 files that take no space."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data" / "architectures"
SHARDS = 163
LAYERS = 61
DENSE_LAYERS = 3
EXPERTS = 256
WIDTH = 7168
BLOCK = 128
_BYTES = {"F8_E4M3": 1, "BF16": 2, "F32": 4}

Tensor = tuple[str, str, tuple[int, ...]]
"""Name, dtype, shape."""


def tensors() -> Iterator[Tensor]:
    """Those of the published checkpoint, without the layer that predicts a second token."""
    yield "model.embed_tokens.weight", "BF16", (129280, WIDTH)
    for layer in range(LAYERS):
        yield from _layer(layer)
    yield "model.norm.weight", "BF16", (WIDTH,)
    yield "lm_head.weight", "BF16", (129280, WIDTH)


def _layer(layer: int) -> Iterator[Tensor]:
    prefix = f"model.layers.{layer}."
    for norm, size in (
        ("input_layernorm", WIDTH),
        ("post_attention_layernorm", WIDTH),
        ("self_attn.q_a_layernorm", 1536),
        ("self_attn.kv_a_layernorm", 512),
    ):
        yield f"{prefix}{norm}.weight", "BF16", (size,)
    yield from _fp8(prefix + "self_attn.q_a_proj", 1536, WIDTH)
    yield from _fp8(prefix + "self_attn.q_b_proj", 24576, 1536)
    yield from _fp8(prefix + "self_attn.kv_a_proj_with_mqa", 576, WIDTH)
    yield from _fp8(prefix + "self_attn.kv_b_proj", 32768, 512)
    yield from _fp8(prefix + "self_attn.o_proj", WIDTH, 16384)
    if layer < DENSE_LAYERS:
        yield from _mlp(prefix + "mlp", 18432)
        return
    yield prefix + "mlp.gate.weight", "BF16", (EXPERTS, WIDTH)
    yield prefix + "mlp.gate.e_score_correction_bias", "F32", (EXPERTS,)
    yield from _mlp(prefix + "mlp.shared_experts", 2048)
    for expert in range(EXPERTS):
        yield from _mlp(f"{prefix}mlp.experts.{expert}", 2048)


def _mlp(prefix: str, inner: int) -> Iterator[Tensor]:
    yield from _fp8(prefix + ".gate_proj", inner, WIDTH)
    yield from _fp8(prefix + ".up_proj", inner, WIDTH)
    yield from _fp8(prefix + ".down_proj", WIDTH, inner)


def _fp8(prefix: str, rows: int, columns: int) -> Iterator[Tensor]:
    yield prefix + ".weight", "F8_E4M3", (rows, columns)
    yield prefix + ".weight_scale_inv", "F32", (-(-rows // BLOCK), -(-columns // BLOCK))


def write_headers_only_deepseek_v3(folder: Path) -> None:
    """The tokenizer is deepseek_v3_fp8's of 512 tokens, padded by the configuration to 129,280."""
    source = DATA / "deepseek_v3_fp8" / "checkpoint"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copyfile(source / name, folder / name)
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | _CONFIG))
    every = list(tensors())
    share = sum(_size(tensor) for tensor in every) / SHARDS
    held: list[list[Tensor]] = [[]]
    filled = 0.0
    for tensor in every:
        if filled >= share * len(held) and len(held) < SHARDS:
            held.append([])
        held[-1].append(tensor)
        filled += _size(tensor)
    names = [f"model-{number:05d}-of-{SHARDS:06d}.safetensors" for number in range(1, len(held) + 1)]
    weight_map = {tensor[0]: file for file, part in zip(names, held, strict=True) for tensor in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    for file, part in zip(names, held, strict=True):
        _write_header(folder / file, part)


_CONFIG: dict[str, Any] = {
    "first_k_dense_replace": DENSE_LAYERS,
    "hidden_size": WIDTH,
    "intermediate_size": 18432,
    "kv_lora_rank": 512,
    "max_position_embeddings": 163840,
    "moe_intermediate_size": 2048,
    "n_group": 8,
    "n_routed_experts": EXPERTS,
    "num_attention_heads": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": LAYERS,
    "num_key_value_heads": 128,
    "q_lora_rank": 1536,
    "qk_head_dim": 192,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "topk_group": 4,
    "v_head_dim": 128,
    "head_dim": 64,
    "vocab_size": 129280,
    "quantization_config": {
        "activation_scheme": "dynamic",
        "fmt": "e4m3",
        "quant_method": "fp8",
        "weight_block_size": [BLOCK, BLOCK],
    },
}


def _size(tensor: Tensor) -> int:
    return prod(tensor[2]) * _BYTES[tensor[1]]


def _write_header(path: Path, held: list[Tensor]) -> None:
    header, end = {}, 0
    for name, dtype, shape in held:
        begin, end = end, end + prod(shape) * _BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
