"""Small checkpoints whose projections are NVFP4: ModelOpt's Llama, of two precisions, and a mixture."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from checkpoint_files import Json, Shapes, write_json, write_weights
from converted_rows import DATA

WIDTH = 64
INNER = 128
EXPERTS = 8


def _projection(name: str, rows: int, columns: int, *, input_scale: bool) -> Shapes:
    shapes: Shapes = {
        f"{name}.weight": ("U8", (rows, columns // 2)),
        f"{name}.weight_scale": ("F8_E4M3", (rows, columns // 16)),
        f"{name}.weight_scale_2": ("F32", ()),
    }
    return shapes | ({f"{name}.input_scale": ("F32", ())} if input_scale else {})


def _attention(layer: int, *, input_scale: bool) -> Shapes:
    prefix = f"model.layers.{layer}."
    shapes: Shapes = {
        f"{prefix}input_layernorm.weight": ("BF16", (WIDTH,)),
        f"{prefix}post_attention_layernorm.weight": ("BF16", (WIDTH,)),
    }
    for name in ("q", "k", "v", "o"):
        rows = WIDTH if name in "qo" else WIDTH // 2
        shapes |= _projection(f"{prefix}self_attn.{name}_proj", rows, WIDTH, input_scale=input_scale)
    return shapes


def _mlp(prefix: str, *, input_scale: bool) -> Shapes:
    return (
        _projection(f"{prefix}.gate_proj", INNER, WIDTH, input_scale=input_scale)
        | _projection(f"{prefix}.up_proj", INNER, WIDTH, input_scale=input_scale)
        | _projection(f"{prefix}.down_proj", WIDTH, INNER, input_scale=input_scale)
    )


def _model(vocabulary: int) -> Shapes:
    return {
        "model.embed_tokens.weight": ("BF16", (vocabulary, WIDTH)),
        "model.norm.weight": ("BF16", (WIDTH,)),
        "lm_head.weight": ("BF16", (vocabulary, WIDTH)),
    }


def _config(recorded: str, folder: Path, files: tuple[str, ...], **changes: object) -> Json:
    source = DATA / recorded / "checkpoint"
    for name in files:
        shutil.copyfile(source / name, folder / name)
    config: Json = json.loads((source / "config.json").read_text(encoding="utf-8"))
    return config | {"hidden_size": WIDTH, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16} | changes


def _llama(folder: Path) -> None:
    """The second layer's projections are for weights alone."""
    config = _config(
        "llama2",
        folder,
        ("tokenizer.model", "tokenizer_config.json"),
        intermediate_size=INNER,
        num_hidden_layers=2,
        quantization_config={
            "quant_method": "modelopt",
            "quant_algo": "MIXED_PRECISION",
            "quantized_layers": {
                "model.layers.0": {"quant_algo": "NVFP4", "group_size": 16},
                "model.layers.1": {"quant_algo": "W4A16_NVFP4", "group_size": 16},
            },
        },
    )
    write_json(folder, "config.json", config)
    shapes = _model(config["vocab_size"])
    for layer in range(2):
        shapes |= _attention(layer, input_scale=layer == 0) | _mlp(f"model.layers.{layer}.mlp", input_scale=layer == 0)
    write_weights(folder, shapes)


def _mixture(folder: Path) -> None:
    config = _config(
        "qwen3_moe",
        folder,
        ("tokenizer.json", "tokenizer_config.json"),
        moe_intermediate_size=INNER,
        num_hidden_layers=1,
        num_experts=EXPERTS,
        quantization_config={"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16},
    )
    write_json(folder, "config.json", config)
    shapes = _model(config["vocab_size"]) | _attention(0, input_scale=True)
    shapes |= {f"model.layers.0.self_attn.{name}_norm.weight": ("BF16", (16,)) for name in "qk"}
    shapes["model.layers.0.mlp.gate.weight"] = ("BF16", (EXPERTS, WIDTH))
    for expert in range(EXPERTS):
        shapes |= _mlp(f"model.layers.0.mlp.experts.{expert}", input_scale=True)
    write_weights(folder, shapes)


NVFP4: dict[str, Callable[[Path], None]] = {"llama_nvfp4": _llama, "qwen3_moe_nvfp4": _mixture}
