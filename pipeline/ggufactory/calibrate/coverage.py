"""Experts that few tokens reached: which they are, and what an importance matrix holds for them.

An expert's mean squared activations are estimates from the tokens that were routed to it; from a handful they are
mostly chance, and llama-quantize takes ones, equal weights, where there was none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ggufactory.calibrate.imatrix_statistics import FEW_TOKENS, layer_of
from ggufactory.calibrate.sums import ActivationSums
from ggufactory.errors import InputError

POLICIES = ("ones", "prior", "more")
_OWN_COLUMNS = "ffn_down_exps"
"""Its inputs are an expert's own inner activations: column c of one expert has nothing to do with that of another."""

Thin = Mapping[str, Mapping[int, int]]
"""Entry -> expert -> the tokens that reached it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What is done about experts that fewer than `tokens` tokens reached, which are called thin.

    `ones`: nothing, as llama-imatrix; those without a token get equal weights. `prior`: `with_prior`. `more`: further
    chunks of the text, until no expert is thin, `most_chunks` are done or the text ends; then as `ones`.
    InputError on construction for values that cannot be meant.
    """

    policy: str = "ones"
    tokens: int = FEW_TOKENS
    most_chunks: int | None = None
    """Of `more`, all rounds together; None: all that the text has."""

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise InputError(f"coverage: wanted one of {', '.join(POLICIES)}, found {self.policy!r}")
        if self.tokens < 1:
            raise InputError(f"coverage: wanted 1 token or more for each expert, found {self.tokens}")
        if self.most_chunks is not None and (self.policy != "more" or self.most_chunks < 1):
            raise InputError(f"coverage: at most {self.most_chunks} chunks; wanted 1 or more, and the policy 'more'")


AS_LLAMA_CPP = Coverage()


def thin_experts(entries: Mapping[str, ActivationSums], tokens: int) -> Thin:
    """Experts that fewer than `tokens` tokens reached, of the entries that have any."""
    found = {}
    for name, sums in sorted(entries.items()):
        if len(sums.counts) > 1 and (few := np.flatnonzero(sums.counts < tokens)).size:
            found[name] = {int(expert): int(sums.counts[expert]) for expert in few}
    return found


def with_prior(entry: str, sums: ActivationSums, tokens: int) -> ActivationSums:
    """`sums`, in which every thin expert got as many average tokens of the other experts as it lacks.

    For an expert e of n < N = `tokens` tokens with the sums S: S' = S + (N - n) m, and N is its count. m is the mean
    squared activation of the other experts' tokens (the sum of their sums over the sum of their counts) by column; for
    down projections, whose columns are each expert's own, the mean of that over the columns. So its weights go from m
    without a token to its own with N, without a step. Where no other expert has a token, nothing changes.
    """
    all_sums, all_tokens = sums.sums.sum(axis=0, dtype=np.float64), int(sums.counts.sum())
    filled, counts = sums.sums.copy(), sums.counts.copy()
    for expert in np.flatnonzero(sums.counts < tokens):
        own, seen = sums.sums[expert].astype(np.float64), int(sums.counts[expert])
        if all_tokens == seen:
            continue
        # What is left of a sum after its largest term is taken away may be a rounding below nothing.
        prior = np.maximum(all_sums - own, 0) / (all_tokens - seen)
        if _OWN_COLUMNS in entry:
            prior = np.full_like(prior, prior.mean())
        filled[expert] = own + (tokens - seen) * prior
        counts[expert] = tokens
    return ActivationSums(filled, counts, zero_count_is_unseen=True)


def count_experts(thin: Thin) -> str:
    """For messages. The tensors of a layer see the same tokens: its experts are counted once."""
    layers: dict[int | None, set[int]] = {}
    for entry, experts in thin.items():
        layers.setdefault(layer_of(entry), set()).update(experts)
    return f"{sum(map(len, layers.values()))} experts of {len(layers)} layers"


def pooled_mean(sums: ActivationSums) -> np.ndarray[tuple[int], np.dtype[np.float64]] | None:
    """Mean squared activations [columns] of the tokens of all matrices together; None without a token."""
    tokens = int(sums.counts.sum())
    return sums.sums.sum(axis=0, dtype=np.float64) / tokens if tokens else None


def next_chunks(done: int, most: int) -> int:
    """How many chunks are to be done, all together, after the next round of `more`: twice as many, `most` at most."""
    return min(2 * done, most)
