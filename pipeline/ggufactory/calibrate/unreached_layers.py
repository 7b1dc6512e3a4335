"""Layers that a calibration never runs: those that predict further tokens, behind the model's own.

llama-imatrix has no entries for them, and llama-quantize then refuses its small types, or weighs nothing without a
word. Here they have entries. One with a count of 0 is what llama-quantize takes equal weights for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ggufactory.architectures.model import OutputTensor
from ggufactory.calibrate.coverage import pooled_mean
from ggufactory.calibrate.imatrix_statistics import kind_of, layer_of
from ggufactory.calibrate.sums import ActivationSums

_OF_HIDDEN_STATES = frozenset(
    (
        *("attn_q", "attn_k", "attn_v", "attn_qkv", "attn_q_a", "attn_kv_a_mqa", "attn_gate"),
        *("ffn_gate", "ffn_up", "ffn_gate_shexp", "ffn_up_shexp", "ffn_gate_inp", "ffn_gate_inp_shexp"),
        *("ffn_gate_exps", "ffn_up_exps", "ffn_gate_up_exps"),
    )
)
"""Kinds of tensors whose inputs are hidden states. These mean the same in every layer; the columns of others' inputs
(of heads, of inner activations) are each layer's own."""


def block_matrices(tensors: Sequence[OutputTensor], first_layer: int = 0) -> list[OutputTensor]:
    """The weights of two or more dimensions of the layers from `first_layer` on."""
    return [
        tensor
        for tensor in tensors
        if tensor.name.startswith("blk.")
        and tensor.name.endswith(".weight")
        and len(tensor.shape) > 1
        and (layer_of(tensor.name) or 0) >= first_layer
    ]


def stand_ins(
    tensors: Sequence[OutputTensor], entries: Mapping[str, ActivationSums], layers_run: int, *, prior_tokens: int
) -> dict[str, ActivationSums]:
    """An entry for each of `tensors`, the matrices of the layers from `layers_run` on.

    `prior_tokens`: 0 gives all of them a count of 0. Otherwise those that read hidden states get the mean squared
    activations of the same tensor of the last layer that ran, of all of its experts together, as if of so many tokens.
    """
    found = {}
    for tensor in tensors:
        experts = tensor.shape[0] if "_exps" in tensor.name else 1
        columns = tensor.rows // tensor.rows_per_matrix * tensor.columns // experts
        mean = None
        if prior_tokens and kind_of(tensor.name) in _OF_HIDDEN_STATES:
            last = entries.get(f"blk.{layers_run - 1}.{tensor.name.split('.', 2)[2]}")
            mean = pooled_mean(last) if last is not None and last.sums.shape[1] == columns else None
        sums = np.zeros((experts, columns), np.float32)
        if mean is not None:
            sums[:] = mean * prior_tokens
        counts = np.full(experts, 0 if mean is None else prior_tokens, np.int64)
        found[tensor.name] = ActivationSums(sums, counts, zero_count_is_unseen=True)
    return found
