"""Packed checkpoints against what llama.cpp's converter made of them, where it does no more than decode."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import pytest

import ggufactory_kernels as gk
from converted_rows import DATA, expected
from ggufactory.checkpoint import open_checkpoint
from ggufactory.checkpoint.packing import unpacked
from packed_sources import Bytes, PackedSource

FP8_NAMES = {
    "blk.0.ffn_down.weight": "model.layers.0.mlp.down_proj.weight",
    "blk.0.ffn_gate.weight": "model.layers.0.mlp.gate_proj.weight",
    "blk.0.ffn_up.weight": "model.layers.0.mlp.up_proj.weight",
    "blk.0.attn_output.weight": "model.layers.0.self_attn.o_proj.weight",
    "blk.0.attn_q_a.weight": "model.layers.0.self_attn.q_a_proj.weight",
    "blk.1.attn_q_b.weight": "model.layers.1.self_attn.q_b_proj.weight",
    "blk.2.ffn_up_shexp.weight": "model.layers.2.mlp.shared_experts.up_proj.weight",
    **{
        f"blk.{block}.ffn_{proj}_exps.weight": f"model.layers.{block}.mlp.experts.{{}}.{proj}_proj.weight"
        for block in (1, 2)
        for proj in ("down", "gate", "up")
    },
}
MXFP4_NAMES = {
    f"blk.{block}.ffn_{proj}_exps.weight": f"model.layers.{block}.mlp.experts.{stored}.weight"
    for block in range(3)
    for proj, stored in (("down", "down_proj"), ("gate", "gate_up_proj"), ("up", "gate_up_proj"))
}


@pytest.fixture(scope="module")
def source(request: pytest.FixtureRequest) -> PackedSource:
    checkpoint = open_checkpoint(str(DATA / request.param / "checkpoint"))
    return PackedSource(checkpoint, unpacked(checkpoint, checkpoint.read_json("config.json") or {}))


def digest(name: str, architecture: str) -> str:
    found: str = next(row[3] for row in expected(architecture)["tensors"] if row[0] == name)
    return found


@pytest.mark.parametrize("source", ["deepseek_v3_fp8"], indirect=True)
@pytest.mark.parametrize("name", FP8_NAMES)
def test_fp8(name: str, source: PackedSource) -> None:
    stored = FP8_NAMES[name]
    numbers = np.concatenate([source.singles(stored.format(number)) for number in range(8 if "exps" in name else 1)])
    rounded = np.empty((len(numbers), numbers.shape[1] * 2), np.uint8)
    gk.quantize_into(numbers.data, "F32", "BF16", numbers.shape[1], rounded.data)
    assert sha256(rounded).hexdigest() == digest(name, "deepseek_v3_fp8")


@pytest.mark.parametrize("source", ["gpt_oss_mxfp4"], indirect=True)
@pytest.mark.parametrize("name", MXFP4_NAMES)
def test_mxfp4(name: str, source: PackedSource) -> None:
    rows: Bytes = source.read(MXFP4_NAMES[name])
    if "gate" in name:
        rows = rows[0::2]
    elif "up" in name:
        rows = rows[1::2]
    assert sha256(rows.tobytes()).hexdigest() == digest(name, "gpt_oss_mxfp4")


@pytest.mark.parametrize("source", ["deepseek_v3_fp8", "gpt_oss_mxfp4"], indirect=True)
def test_nothing_packed_is_left(source: PackedSource) -> None:
    assert [tensor.name for tensor in source.tensors.values() if tensor.source is None] == []
    assert {tensor.source.dtype for tensor in source.tensors.values() if tensor.source} <= {"F32", "BF16", "MXFP4"}
