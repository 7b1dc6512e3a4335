"""How far one model's predictions are from another's, position by position, and what is told of it.

Every figure is defined as llama-perplexity has it: `log_softmax`, `kl_divergence` and `process_logits` of llama.cpp's
tools/perplexity/perplexity.cpp. There the reference's probabilities went through a file in 16 bits; here they did
not, and all is in double precision.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch

Values = npt.NDArray[np.float64]
_BLOCK_NUMBERS = 1 << 23
"""Logits that are held in double precision at a time."""
_ENOUGH = 10
"""With fewer positions there is no error to tell."""


@dataclass(frozen=True, slots=True)
class Positions:
    """Of each position whose next token is predicted, [positions]."""

    negative_log_likelihood: Values
    """Of the token that came, in nats."""
    reference_likelihood: Values
    """The same, of the reference."""
    divergence: Values
    """Kullback-Leibler, of the model from the reference, in nats."""
    probability_change: Values
    """Of the token that came: the model's probability less the reference's."""
    same_top: Values
    """1 where both find the same token the most likely one, else 0."""

    @staticmethod
    def joined(parts: Sequence[Positions]) -> Positions:
        held = [part.arrays() for part in parts]
        return Positions(**{name: np.concatenate([arrays[name] for arrays in held]) for name in held[0]})

    def arrays(self) -> dict[str, Values]:
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @staticmethod
    def of_arrays(arrays: Mapping[str, Values]) -> Positions:
        """What `arrays` gave."""
        return Positions(**arrays)


@dataclass(frozen=True, slots=True)
class Quality:
    """What is told of a rung."""

    perplexity: float
    perplexity_error: float
    """One standard error of the perplexity."""
    reference_perplexity: float
    kld_mean: float
    kld_error: float
    """One standard error of the mean."""
    kld_median: float
    kld_99: float
    kld_99_9: float
    kld_max: float
    same_top: float
    """Share of the positions, 0 to 1."""
    rms_probability_change: float


def compare(reference: torch.Tensor, logits: torch.Tensor, came: torch.Tensor) -> Positions:
    """`reference`, `logits`: [positions, vocabulary], on one device; `came`: the ids of the tokens that came,
    [positions]."""
    step = max(_BLOCK_NUMBERS // reference.shape[-1], 1)
    return Positions.joined(
        [
            _compare(reference[at : at + step], logits[at : at + step], came[at : at + step])
            for at in range(0, len(came), step)
        ]
    )


def _compare(reference: torch.Tensor, logits: torch.Tensor, came: torch.Tensor) -> Positions:
    wanted = torch.log_softmax(reference.double(), dim=-1)
    found = torch.log_softmax(logits.double(), dim=-1)
    of_token = came.to(found.device)[:, None]
    likelihood = found.gather(-1, of_token)[:, 0]
    likelihood_wanted = wanted.gather(-1, of_token)[:, 0]
    told = (
        -likelihood,
        -likelihood_wanted,
        (wanted.exp() * (wanted - found)).sum(dim=-1),
        likelihood.exp() - likelihood_wanted.exp(),
        (reference.argmax(dim=-1) == logits.argmax(dim=-1)).double(),
    )
    return Positions(*(values.cpu().numpy() for values in told))


def quality(positions: Positions) -> Quality:
    """Of all positions together; there is at least one."""
    mean, error = _mean(positions.negative_log_likelihood)
    divergence, divergence_error = _mean(positions.divergence)
    ordered = np.sort(positions.divergence)
    return Quality(
        perplexity=math.exp(mean),
        perplexity_error=math.exp(mean) * error,
        reference_perplexity=math.exp(_mean(positions.reference_likelihood)[0]),
        kld_mean=divergence,
        kld_error=divergence_error,
        kld_median=float(np.median(ordered)),
        kld_99=float(np.quantile(ordered, 0.99)),
        kld_99_9=float(np.quantile(ordered, 0.999)),
        kld_max=float(ordered[-1]),
        same_top=float(positions.same_top.mean()),
        rms_probability_change=float(np.sqrt(np.square(positions.probability_change).mean())),
    )


def _mean(values: Values) -> tuple[float, float]:
    """With its standard error."""
    error = math.sqrt(float(values.var()) / (len(values) - 1)) if len(values) > _ENOUGH else 0.0
    return float(values.mean()), error
