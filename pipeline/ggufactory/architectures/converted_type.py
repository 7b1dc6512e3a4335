"""The type that the converter stores each tensor in, in its BF16 file.

Source: `ModelBase.prepare_tensors` of llama.cpp's conversion/base.py.
"""

from __future__ import annotations

_F32_SUFFIX = "_norm.weight"
_F32_NAMES = frozenset(
    {
        "position_embd.weight",
        "token_types.weight",
        "blk.{}.ffn_gate_inp.weight",
        "blk.{}.ffn_gate_inp_shexp.weight",
        "blk.{}.ssm_conv1d.weight",
        "blk.{}.ssm_conv1d_q.weight",
        "blk.{}.ssm_conv1d_k.weight",
        "blk.{}.ssm_conv1d_v.weight",
        "blk.{}.shortconv.conv.weight",
        "blk.{}.time_mix_first.weight",
        "blk.{}.time_mix_w1.weight",
        "blk.{}.time_mix_w2.weight",
        "blk.{}.time_mix_decay_w1.weight",
        "blk.{}.time_mix_decay_w2.weight",
        "blk.{}.time_mix_lerp_fused.weight",
        "blk.{}.altup_correct_coef.weight",
        "blk.{}.altup_predict_coef.weight",
        "blk.{}.indexer.proj.weight",
    }
)


def converted_type(name: str, dimensions: int) -> str:
    """ "F32" or "BF16". `name`: in the GGUF file, with {} for the number of the block."""
    if dimensions <= 1 or name.endswith(_F32_SUFFIX) or not name.endswith(".weight") or name in _F32_NAMES:
        return "F32"
    return "BF16"
