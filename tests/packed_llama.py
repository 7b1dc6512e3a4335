"""A small Llama whose matrices are packed, one way or another: two layers of random weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import packed_samples as samples

WIDTH, INNER, VOCABULARY = 256, 320, 2048
_MATRICES = {
    "self_attn.q_proj": (256, WIDTH),
    "self_attn.k_proj": (64, WIDTH),
    "self_attn.v_proj": (64, WIDTH),
    "self_attn.o_proj": (WIDTH, 256),
    "mlp.gate_proj": (INNER, WIDTH),
    "mlp.up_proj": (INNER, WIDTH),
    "mlp.down_proj": (WIDTH, INNER),
}
_GROUP = 32
Tensors = dict[str, torch.Tensor]


def _fp8(rows: int, columns: int, seed: int) -> Tensors:
    """Blocks that are ragged both ways."""
    blocks = (-(-rows // 48), -(-columns // 80))
    return {"weight": samples.fp8(rows, columns, seed=seed), "weight_scale_inv": samples.scales(*blocks, seed=seed)}


def _int8(rows: int, columns: int, seed: int) -> Tensors:
    weights = samples.integers(-128, 128, rows, columns, seed=seed).to(torch.int8)
    return {"weight": weights, "weight_scale": samples.scales(rows, 1, seed=seed).half()}


def _gptq(rows: int, columns: int, seed: int) -> Tensors:
    """Groups' inputs are anywhere."""
    groups = torch.arange(columns) // _GROUP
    numbers, zeros, factors = _integers(rows, columns, seed)
    return {
        "qweight": samples.words(numbers, 4, 0),
        "qzeros": samples.words(zeros, 4, 1),
        "scales": factors,
        "g_idx": groups[torch.randperm(columns, generator=torch.Generator().manual_seed(seed))].int(),
    }


def _awq(rows: int, columns: int, seed: int) -> Tensors:
    numbers, zeros, factors = _integers(rows, columns, seed)
    return {
        "qweight": samples.interleaved(numbers),
        "qzeros": samples.interleaved(zeros),
        "scales": factors,
    }


def _integers(rows: int, columns: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    groups = columns // _GROUP
    factors = samples.scales(groups, rows, seed=seed).half()
    return samples.integers(0, 16, columns, rows, seed=seed), samples.integers(0, 16, groups, rows, seed=seed), factors


PACKINGS: Mapping[str, tuple[Callable[[int, int, int], Tensors], dict[str, Any]]] = {
    "fp8": (_fp8, {"quant_method": "fp8", "weight_block_size": [48, 80]}),
    "int8": (_int8, samples.compressed("int-quantized", {"strategy": "channel", "type": "int", "num_bits": 8})),
    "gptq": (_gptq, {"quant_method": "gptq", "bits": 4, "group_size": _GROUP, "desc_act": True}),
    "awq": (_awq, {"quant_method": "awq", "bits": 4, "group_size": _GROUP, "version": "gemm", "zero_point": True}),
}


def write_packed_llama(folder: Path, tinylm: str, packing: str) -> Path:
    """With the vocabulary of the bundled model, whose folder is `tinylm`. Returns `folder`."""
    pack, quantization = PACKINGS[packing]
    folder.mkdir()
    for name in ("tokenizer.model", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(Path(tinylm) / name, folder / name)
    config = json.loads((Path(tinylm) / "config.json").read_text(encoding="utf-8"))
    config |= {"num_hidden_layers": 2, "intermediate_size": INNER, "quantization_config": quantization}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    norm = torch.ones(WIDTH, dtype=torch.bfloat16)
    embedding = samples.scales(VOCABULARY, WIDTH).bfloat16()
    tensors = {"model.embed_tokens.weight": embedding, "lm_head.weight": embedding.clone(), "model.norm.weight": norm}
    for layer in range(2):
        prefix = f"model.layers.{layer}."
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{prefix}{name}.weight"] = norm.clone()
        for number, (name, shape) in enumerate(_MATRICES.items()):
            packed = pack(*shape, 10 * layer + number)
            tensors |= {f"{prefix}{name}.{part}": tensor.contiguous() for part, tensor in packed.items()}
    save_file(tensors, folder / "model.safetensors")
    return folder
