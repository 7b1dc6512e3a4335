"""What an importance matrix says of each tensor and layer: the figures of `llama-imatrix --show-statistics`.

Source: llama.cpp, `compute_statistics`, `compute_cossim` and `show_statistics` in `tools/imatrix/imatrix.cpp`.
Sums are float32 and run in its order, so that the figures are the ones that it prints.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log2
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from ggufactory.calibrate.sums import ActivationSums, ImatrixFile
from ggufactory.errors import InputError

ACTIVE_ABOVE = 1e-5
"""A column is active when its mean squared activation is larger than this."""
FEW_TOKENS = 128
"""A mean of squares of so many tokens is off by about an eighth, one standard deviation, for normal activations."""
_LAYER = re.compile(r"blk\.(\d{1,9})\.", re.ASCII)

Values = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TensorStatistics:
    """Of the mean squared activations of all input columns of one tensor; for a mixture of experts, of all
    experts that some token reached."""

    entry: str
    layer: int | None
    """None for a tensor outside the layers."""
    kind: str
    """The part of the name before `weight`: attn_q."""
    columns: int
    sum: float
    least: float
    most: float
    mean: float
    deviation: float
    active: float
    """Share of the columns that are active, 0 to 1."""
    entropy: float
    """Of the columns' shares of the sum, in bits; `log2(columns)` when all are alike."""
    outliers: float
    """Share of the columns more than one standard deviation above the mean, 0 to 1 (llama-imatrix: ZD)."""
    similarity: float | None = None
    """Cosine of the sums and those of the same tensor one layer before; None where there are none to compare."""

    @property
    def normalized_entropy(self) -> float:
        """Entropy as a share of the largest possible one, 0 to 1; 0 for a single column."""
        return self.entropy / log2(self.columns) if self.columns > 1 else 0.0


@dataclass(frozen=True, slots=True)
class LayerStatistics:
    """Means of a layer's tensors, weighted by their columns; a tensor without similarity counts as 0."""

    layer: int
    sum: float
    outliers: float
    similarity: float


@dataclass(frozen=True, slots=True)
class ExpertCoverage:
    """How many tokens the text gave to each matrix (expert) of one tensor."""

    entry: str
    matrices: int
    unseen: tuple[int, ...]
    """Matrices that no token reached; quantizing gives them equal weights."""
    thin: tuple[tuple[int, int], ...]
    """Matrices that few tokens reached, and how many did: the fewest first."""
    fewest: int
    median: float
    most: int


@dataclass(frozen=True, slots=True)
class ImatrixStatistics:
    tensors: tuple[TensorStatistics, ...]
    """By kind, then the largest sum first, as llama-imatrix lists them."""
    layers: tuple[LayerStatistics, ...]
    experts: tuple[ExpertCoverage, ...]
    """Tensors with a count for each of several matrices, by name."""
    empty: tuple[str, ...]
    """Entries that no token reached: they have no statistics."""


def compute_statistics(
    file: ImatrixFile, *, few: int = FEW_TOKENS, reached: Mapping[str, Mapping[int, int]] = MappingProxyType({})
) -> ImatrixStatistics:
    """Of sums of tokens, as `merge` makes them. InputError when no entry has data.

    `few`: matrices (experts) that fewer tokens reached are thin; `reached`: by entry and matrix the tokens that did,
    where the counts tell of others that stand in for them.
    """
    found = {entry: _of_tensor(entry, sums) for entry, sums in sorted(file.entries.items()) if sums.counts.any()}
    if not found:
        raise InputError("no entry of the importance matrix has data: there are no statistics of it")
    compared = [replace(of, similarity=_similarity(entry, file.entries, found)) for entry, of in found.items()]
    tensors = sorted(compared, key=lambda of: (of.kind, -of.sum))
    return ImatrixStatistics(
        tensors=tuple(tensors),
        layers=_of_layers(tensors),
        experts=tuple(
            _coverage(entry, _reached(sums, reached.get(entry, {})), few)
            for entry, sums in sorted(file.entries.items())
            if len(sums.counts) > 1
        ),
        empty=tuple(entry for entry in sorted(file.entries) if entry not in found),
    )


def _of_tensor(entry: str, sums: ActivationSums) -> TensorStatistics:
    seen = sums.counts > 0
    means = (sums.sums[seen] / sums.counts[seen].astype(np.float32)[:, np.newaxis]).reshape(-1)
    size = np.float32(means.size)
    with np.errstate(over="ignore", invalid="ignore"):
        total = _sum(means)
        mean = total / size
        variance = _sum(means * means) / size - mean * mean
        deviation = np.sqrt(np.fmax(np.float32(0), variance))
        high = int(((means - mean) / deviation > 1).sum()) if deviation > 0 else 0
    return TensorStatistics(
        entry=entry,
        layer=layer_of(entry),
        kind=kind_of(entry),
        columns=means.size,
        sum=float(total),
        least=float(means.min()),
        most=float(means.max()),
        mean=float(mean),
        deviation=float(deviation),
        active=float(np.float32(1) - np.float32((means <= np.float32(ACTIVE_ABOVE)).sum()) / size),
        entropy=_entropy(means, total),
        outliers=float(np.float32(high) / size),
    )


def _entropy(means: Values, total: np.float32) -> float:
    if not total > 0:
        return 0.0
    shares = means / total
    shares = shares[shares > 0]
    return float(-_sum(shares * np.log2(shares))) if shares.size else 0.0


def _sum(values: Values) -> np.float32:
    """One after the other in float32, as std::accumulate does; NumPy's own sum adds pairwise."""
    return np.float32(np.cumsum(values, dtype=np.float32)[-1])


def _similarity(
    entry: str, entries: Mapping[str, ActivationSums], found: Mapping[str, TensorStatistics]
) -> float | None:
    match = _LAYER.search(entry)
    if match is None:
        return None
    before = f"{entry[: match.start(1)]}{int(match[1]) - 1}{entry[match.end(1) :]}"
    if before not in found or entries[before].sums.size != entries[entry].sums.size:
        return None
    one, other = entries[entry].sums.reshape(-1), entries[before].sums.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        cosine = float(_sum(one * other) / (np.sqrt(_sum(one * one)) * np.sqrt(_sum(other * other))))
    return cosine if np.isfinite(cosine) else None


def _of_layers(tensors: Sequence[TensorStatistics]) -> tuple[LayerStatistics, ...]:
    layers: dict[int, list[TensorStatistics]] = {}
    for of in tensors:
        if of.layer is not None:
            layers.setdefault(of.layer, []).append(of)
    return tuple(_of_layer(layer, layers[layer]) for layer in sorted(layers))


def _of_layer(layer: int, tensors: Sequence[TensorStatistics]) -> LayerStatistics:
    columns = np.array([of.columns for of in tensors], np.float32)
    values = np.array([(of.sum, of.outliers, of.similarity or 0.0) for of in tensors], np.float32)
    with np.errstate(over="ignore"):
        weighted = np.cumsum(columns[:, np.newaxis] * values, axis=0, dtype=np.float32)[-1]
    total, outliers, similarity = (weighted / np.float32(sum(of.columns for of in tensors))).tolist()
    return LayerStatistics(layer, total, outliers, similarity)


def _reached(sums: ActivationSums, really: Mapping[int, int]) -> npt.NDArray[np.int64]:
    counts = sums.counts.copy()
    for matrix, tokens in really.items():
        if 0 <= matrix < len(counts):
            counts[matrix] = tokens
    return counts


def _coverage(entry: str, counts: npt.NDArray[np.int64], few: int) -> ExpertCoverage:
    unseen = tuple(int(matrix) for matrix in np.flatnonzero(counts == 0))
    thin = sorted((int(counts[matrix]), int(matrix)) for matrix in np.flatnonzero(counts < few))
    return ExpertCoverage(
        entry=entry,
        matrices=len(counts),
        unseen=unseen,
        thin=tuple((matrix, tokens) for tokens, matrix in thin),
        fewest=int(counts.min()),
        median=float(np.median(counts)),
        most=int(counts.max()),
    )


def layer_of(entry: str) -> int | None:
    """The layer that an entry belongs to by its name; None outside the layers."""
    parts = entry.split(".")
    after = parts[parts.index("blk") + 1 :] if "blk" in parts else []
    return int(after[0]) if after and re.fullmatch(r"\d{1,9}", after[0], re.ASCII) else None


def kind_of(entry: str) -> str:
    """The part of an entry's name before `weight`; the whole name when there is none."""
    parts = entry.split(".")
    return parts[parts.index("weight", 1) - 1] if "weight" in parts[1:] else entry
