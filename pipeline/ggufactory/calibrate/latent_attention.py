"""What llama.cpp multiplies in latent attention (DeepSeek V2 and V3), where transformers multiplies something else.

llama.cpp keeps keys and values in the latent space: queries are multiplied by `attn_k_b`, head by head, and what the
attention sums up there by `attn_v_b`. transformers multiplies the latents by `kv_b_proj` instead. Both inputs are
taken from what flows through its attention.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ggufactory.calibrate.activations import Sums, sum_of_squares


class LatentAttention:
    """Of one layer: give its methods to an `ActivationWatch`."""

    def __init__(self, config: Any) -> None:
        self._heads: int = config.num_attention_heads
        self._head_keys: int = config.qk_nope_head_dim
        self._head_values: int = config.v_head_dim
        self._latents: torch.Tensor | None = None
        self._keys: list[tuple[torch.Tensor, int]] = []
        self._values: list[tuple[torch.Tensor, int]] = []

    def after_product(self, name: str, inputs: torch.Tensor, result: torch.Tensor) -> None:
        if name.endswith(("self_attn.q_b_proj.weight", "self_attn.q_proj.weight")):
            queries = result.reshape(*result.shape[:-1], self._heads, -1)[..., : self._head_keys]
            self._add(self._keys, queries)
        elif name.endswith("self_attn.kv_b_proj.weight"):
            self._latents = inputs if inputs.dim() == 4 else inputs.unsqueeze(1)

    def other_product(self, left: torch.Tensor, right: torch.Tensor) -> None:
        """The attention's sums of values are those of latents, multiplied; here the latents are summed instead."""
        if self._latents is None or right.dim() != 4 or right.shape[-1] != self._head_values:
            return
        if left.shape[-1] != right.shape[-2] or left.shape[-1] != self._latents.shape[-2]:
            return
        summed = left @ self._latents
        self._add(self._values, summed.transpose(1, 2))
        self._latents = None

    def taken(self) -> tuple[Sums, Sums]:
        """Of `attn_k_b` and `attn_v_b`, the sums of all heads in one row."""
        keys, values = (_summed(held) for held in (self._keys, self._values))
        self._keys, self._values = [], []
        return keys, values

    def _add(self, held: list[tuple[torch.Tensor, int]], by_head: torch.Tensor) -> None:
        rows = by_head.flatten(-2)
        held.append((sum_of_squares(rows), rows.numel() // rows.shape[-1]))


def _summed(held: list[tuple[torch.Tensor, int]]) -> Sums:
    squares = sum(squares for squares, _ in held)
    assert isinstance(squares, torch.Tensor)
    return Sums(squares.cpu().numpy()[np.newaxis], np.array([sum(count for _, count in held)], np.int64))
