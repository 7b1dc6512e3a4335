"""How likely a text is to the model, over the second half of each chunk's positions, as llama-imatrix has it."""

from __future__ import annotations

import torch
from torch.nn import functional

from ggufactory.calibrate.streamed_model import StreamedModel

_TOKENS = 1024
"""That go through the head at once: the logits of a large vocabulary are larger than a layer."""


def negative_log_likelihood(model: StreamedModel, tokens: torch.Tensor, hidden: torch.Tensor) -> tuple[float, int]:
    """Of `tokens` [chunks, context], given the last layer's output for them: the sum, and over how many tokens."""
    context = tokens.shape[1]
    half, together = context // 2, max(_TOKENS // context, 1)
    total = 0.0
    for some, states in zip(torch.split(tokens, together), torch.split(hidden, together), strict=True):
        logits = model.logits(some, states, keep=context - half)[:, :-1].float()
        wanted = some[:, half + 1 :].flatten().to(logits.device)
        found = functional.cross_entropy(logits.flatten(0, 1), wanted, reduction="none")
        total += float(found.double().sum())
    return total, len(tokens) * (context - half - 1)
