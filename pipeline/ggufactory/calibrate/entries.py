"""From a model's parameters to the entries of an importance matrix: GGUF names, through the conversion tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ggufactory.architectures.model import OutputTensor
from ggufactory.calibrate.activations import Sums
from ggufactory.calibrate.collected import Collected
from ggufactory.calibrate.sums import ActivationSums

PREFIX = "blk."
"""llama-imatrix takes the products of blocks alone."""


def entries(
    collected: Collected, tensors: Sequence[OutputTensor], targets: Mapping[str, str]
) -> dict[str, ActivationSums]:
    """By tensor name. `targets`: of each tensor of the checkpoint, the parameter that it becomes."""
    found = {}
    for tensor in tensors:
        if not tensor.name.startswith(PREFIX) or not tensor.name.endswith(".weight") or not tensor.sources:
            continue
        sums = _sums_of(tensor, collected, targets)
        if sums is not None:
            found[tensor.name] = ActivationSums(sums.sums.astype(np.float32), sums.counts, True)
    return found


def _sums_of(tensor: OutputTensor, collected: Collected, targets: Mapping[str, str]) -> Sums | None:
    block = int(tensor.name.split(".")[1])
    if tensor.name.endswith((".attn_k_b.weight", ".attn_v_b.weight")):
        return collected.latent[block]["attn_v_b" in tensor.name] if block in collected.latent else None
    parameter = targets.get(tensor.sources[0].tensor)
    return collected.parameters.get(parameter) if parameter else None
