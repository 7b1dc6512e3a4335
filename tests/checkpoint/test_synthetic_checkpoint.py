"""The checkpoints that other tests and the benchmarks are made from are what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from synthetic import LlamaShape, write_llama_checkpoint

TINY: dict[str, Any] = {
    "layers": 2, "hidden": 128, "intermediate": 256, "heads": 4, "kv_heads": 2, "vocab": 3000,
}  # fmt: skip


def load(folder: Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as reader:
            tensors.update({name: reader.get_tensor(name) for name in reader.keys()})  # noqa: SIM118
    return tensors


@pytest.mark.parametrize(("dtype", "kind"), [("BF16", torch.bfloat16), ("F16", torch.float16), ("F32", torch.float32)])
def test_values_look_like_weights(tmp_path: Path, dtype: str, kind: torch.dtype) -> None:
    write_llama_checkpoint(tmp_path / "model", **TINY, shards=3, dtype=dtype)
    tensors = load(tmp_path / "model")
    index = json.loads((tmp_path / "model" / "model.safetensors.index.json").read_text())
    assert len(list((tmp_path / "model").glob("model-*-of-00003.safetensors"))) == 3
    assert tensors.keys() == index["weight_map"].keys()
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in tensors.values())
    for name, tensor in tensors.items():
        assert tensor.dtype == kind
        values = tensor.float().numpy()
        mean, deviation = (1, 0.05) if "norm" in name else (0, 0.02)
        assert abs(values.mean() - mean) < deviation
        assert np.isclose(values.std(), deviation, rtol=0.3)
    assert tensors["model.embed_tokens.weight"].shape == (3000, 128)
    assert tensors["model.layers.1.self_attn.k_proj.weight"].shape == (64, 128)


def test_values_depend_on_seed_and_name_alone(tmp_path: Path) -> None:
    for name, shards, seed in [("one", 1, 5), ("three", 3, 5), ("other", 1, 6)]:
        write_llama_checkpoint(tmp_path / name, **TINY, shards=shards, seed=seed)
    one, three, other = (load(tmp_path / name) for name in ("one", "three", "other"))
    assert all(torch.equal(one[name], three[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)
    up, gate = "model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.gate_proj.weight"
    assert not torch.equal(one[up], one[gate])


def test_too_many_shards(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="21 tensors cannot fill 22 shards"):
        write_llama_checkpoint(tmp_path / "model", **TINY, shards=22)
    write_llama_checkpoint(tmp_path / "model", **TINY, shards=21)
    assert load(tmp_path / "model").keys() == dict(LlamaShape(2, 128, 256, 4, 2, 3000).tensors()).keys()
