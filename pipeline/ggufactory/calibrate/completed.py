"""The entries of an importance matrix as they are written: with what the coverage policy does about thin experts and
about layers that never ran, and an account of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ggufactory.architectures.model import OutputTensor
from ggufactory.calibrate.coverage import Coverage, Thin, thin_experts, with_prior
from ggufactory.calibrate.sums import ActivationSums
from ggufactory.calibrate.unreached_layers import block_matrices, stand_ins


@dataclass(frozen=True, slots=True)
class Completed:
    entries: Mapping[str, ActivationSums]
    thin: Thin
    """The tokens that really reached each thin expert."""
    unreached: Mapping[str, str]
    """Tensors of layers that never ran, and what stands in for their activations: `ones` or `prior`."""


def complete(
    found: Mapping[str, ActivationSums], tensors: Sequence[OutputTensor], layers_run: int, coverage: Coverage
) -> Completed:
    """`found`: the entries of the layers that ran, the first `layers_run` of the model."""
    thin = thin_experts(found, coverage.tokens)
    prior_tokens = coverage.tokens if coverage.policy == "prior" else 0
    filled = {name: with_prior(name, sums, prior_tokens) if name in thin else sums for name, sums in found.items()}
    others = stand_ins(block_matrices(tensors, layers_run), filled, layers_run, prior_tokens=prior_tokens)
    told = {name: "prior" if sums.counts.any() else "ones" for name, sums in others.items()}
    return Completed(filled | others, thin, told)
