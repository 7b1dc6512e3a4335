"""One pass over all chunks, a layer at a time: statistics of every layer's inputs, and perplexity."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from ggufactory.calibrate.activations import ActivationWatch, Sums
from ggufactory.calibrate.hidden_states import HiddenStates
from ggufactory.calibrate.latent_attention import LatentAttention
from ggufactory.calibrate.likelihood import negative_log_likelihood
from ggufactory.calibrate.streamed_model import LayerCall, StreamedModel
from ggufactory.errors import InputError

Tokens = npt.NDArray[np.int32]
GROUP_TOKENS = 2048
"""Tokens that go through a layer at once. It decides what is summed with what, and so the last bits of the result."""


@dataclass(slots=True)
class Collected:
    """`parameters`: by name in the model; `latent`: by layer, of `attn_k_b` and `attn_v_b`."""

    parameters: dict[str, Sums] = field(default_factory=dict)
    latent: dict[int, tuple[Sums, Sums]] = field(default_factory=dict)
    negative_log_likelihood: float = 0.0
    predicted: int = 0

    def add(self, other: Collected) -> None:
        """What was collected of other chunks."""
        for name, sums in other.parameters.items():
            add_to(self.parameters, name, sums)
        for layer, taken in other.latent.items():
            _add_latent(self, layer, taken)
        self.negative_log_likelihood += other.negative_log_likelihood
        self.predicted += other.predicted

    @property
    def perplexity(self) -> float:
        return math.exp(self.negative_log_likelihood / self.predicted)


def shares(chunks: Tokens, workers: int) -> list[Tokens]:
    """`chunks` in up to `workers` runs of whole groups: what goes through a layer together stays together."""
    size = group_size(chunks)
    groups = -(-len(chunks) // size)
    borders = [groups * worker // workers * size for worker in range(workers + 1)]
    return [chunks[a:b] for a, b in pairwise(borders) if a < b]


def group_size(chunks: Tokens) -> int:
    context: int = chunks.shape[1]
    return max(GROUP_TOKENS // context, 1)


def run(
    model: StreamedModel,
    chunks: Tokens,
    hidden_bytes: int,
    on_layer: Callable[[int], None] = lambda layer: None,
) -> Collected:
    """`chunks`: token ids [chunks, context]; `hidden_bytes`: hidden states kept in memory, the rest go to a
    temporary file. InputError where activations are not finite, naming the layer and the chunk."""
    size = group_size(chunks)
    groups = [torch.from_numpy(chunks[at : at + size].astype(np.int64)) for at in range(0, len(chunks), size)]
    collected = Collected()
    with HiddenStates(hidden_bytes) as hidden:
        calls: list[list[LayerCall]] = []
        with model.outside_layers():
            for number, tokens in enumerate(groups):
                first, called = model.embed(tokens)
                hidden.put(number, first)
                # Positions and masks depend on the shape alone: all groups but the last share the first's.
                calls.append(called if tokens.shape != groups[0].shape or not calls else calls[0])
        for layer in range(model.layer_count):
            with model.layer(layer):
                _run_layer(model, layer, hidden, [called[layer] for called in calls], collected, size)
            on_layer(layer)
        with model.outside_layers():
            for number, tokens in enumerate(groups):
                _score(model, tokens, hidden.get(number), collected)
    return collected


def _run_layer(
    model: StreamedModel,
    layer: int,
    hidden: HiddenStates,
    calls: Sequence[LayerCall],
    collected: Collected,
    size: int,
) -> None:
    latent = LatentAttention(model.config) if getattr(model.config, "kv_lora_rank", None) else None
    watch = ActivationWatch(
        model.parameters(layer),
        also=latent.after_product if latent else None,
        other_products=latent.other_product if latent else None,
    )
    for number, call in enumerate(calls):
        with watch:
            output = model.run_layer(layer, hidden.get(number), call)
        if not torch.isfinite(output).all():
            bad = int((~torch.isfinite(output)).flatten(1).any(dim=1).nonzero()[0])
            raise InputError(
                f"layer {layer}: the output of chunk {number * size + bad} is not finite",
                fix="Calibrate in float32 (--compute-dtype float32), or with other text",
            )
        hidden.put(number, output)
        for name, sums in watch.taken().items():
            add_to(collected.parameters, name, sums.rounded())
        if latent:
            keys, values = latent.taken()
            _add_latent(collected, layer, (keys.rounded(), values.rounded()))


def add_to(sums: dict[str, Sums], name: str, more: Sums) -> None:
    if name in sums:
        sums[name].add(more)
    else:
        sums[name] = more


def _add_latent(collected: Collected, layer: int, taken: tuple[Sums, Sums]) -> None:
    if layer not in collected.latent:
        collected.latent[layer] = taken
        return
    for held, new in zip(collected.latent[layer], taken, strict=True):
        held.add(new)


def _score(model: StreamedModel, tokens: torch.Tensor, hidden: torch.Tensor, collected: Collected) -> None:
    found, predicted = negative_log_likelihood(model, tokens, hidden)
    collected.negative_log_likelihood += found
    collected.predicted += predicted
