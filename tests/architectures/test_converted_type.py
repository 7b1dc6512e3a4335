"""Which tensors the converter keeps in single precision."""

from __future__ import annotations

import pytest

from ggufactory.architectures.converted_type import converted_type


@pytest.mark.parametrize(
    ("name", "dimensions", "type_"),
    [
        ("token_embd.weight", 2, "BF16"),
        ("blk.{}.ffn_gate_exps.weight", 3, "BF16"),
        ("rope_freqs.weight", 1, "F32"),
        ("blk.{}.attn_q_norm.weight", 2, "F32"),
        ("blk.{}.attn_q.bias", 2, "F32"),
        ("blk.{}.ffn_gate_inp.weight", 2, "F32"),
        ("blk.{}.ffn_gate.weight", 2, "BF16"),
        ("position_embd.weight", 2, "F32"),
    ],
)
def test_type(name: str, dimensions: int, type_: str) -> None:
    assert converted_type(name, dimensions) == type_
