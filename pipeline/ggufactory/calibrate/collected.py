"""What a calibration has collected: sums of squared inputs by parameter, and how likely the text was."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ggufactory.calibrate.activations import Sums


@dataclass(slots=True)
class Collected:
    """`parameters`: by name in the model; `latent`: by layer, of `attn_k_b` and `attn_v_b`.

    Of any part of the work: one group of chunks in one layer, or all of it. What was collected of disjoint parts may
    be added in any order, with the same result bit by bit.
    """

    parameters: dict[str, Sums] = field(default_factory=dict)
    latent: dict[int, tuple[Sums, Sums]] = field(default_factory=dict)
    likelihoods: list[float] = field(default_factory=list)
    """The negative logarithm, one of each group that went through the head."""
    predicted: int = 0
    """Tokens that these are of."""
    bytes_read: int = 0
    """Of the checkpoint's tensors, for it."""

    def add(self, other: Collected) -> None:
        """What was collected of other chunks, or in other layers."""
        for name, sums in other.parameters.items():
            if name in self.parameters:
                self.parameters[name].add(sums)
            else:
                self.parameters[name] = sums
        for layer, taken in other.latent.items():
            if layer not in self.latent:
                self.latent[layer] = taken
                continue
            for held, new in zip(self.latent[layer], taken, strict=True):
                held.add(new)
        self.likelihoods += other.likelihoods
        self.predicted += other.predicted
        self.bytes_read += other.bytes_read

    @property
    def perplexity(self) -> float:
        return math.exp(math.fsum(self.likelihoods) / self.predicted)
