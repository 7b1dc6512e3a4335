"""Weights of four bits: from the order in which checkpoints store them to ggml's."""

from __future__ import annotations

from ggufactory.checkpoint.rows import Bytes


def reorder_nibbles(packed: Bytes, out: Bytes) -> None:
    """`packed` [..., n]: groups of 2n weights, of which byte i holds 2i (low) and 2i + 1 (high); in `out`,
    of the same shape, byte i holds weights i (low) and i + n (high). n is even.

    As `repack_mxfp4_blocks` and `_nvfp4_pack` of llama.cpp's conversion/base.py do. No bit is changed.
    """
    half = packed.shape[-1] // 2
    first, second = packed[..., :half], packed[..., half:]
    out[..., 0::2] = first & 15 | second << 4
    out[..., 1::2] = first >> 4 | second & 240
