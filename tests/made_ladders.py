"""What the rungs of a ladder lose, computed from the finished files by NumPy and gguf-py alone."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def independent_errors(folder: Path, name: str, ladder: tuple[str, ...], imatrix: str) -> dict[str, dict[str, float]]:
    """By rung and tensor, to four digits: of the tensors that are stored otherwise than in the BF16 rung, which
    must be there."""
    before = _tensors(folder / f"{name}-BF16.gguf")
    weights = _importance(imatrix)
    found: dict[str, dict[str, float]] = {}
    for rung in ladder:
        found[rung] = {}
        for tensor, (kind, y) in _tensors(folder / f"{name}-{rung}.gguf").items():
            held, x = before[tensor]
            if kind != held:
                w = weights.get(tensor, np.ones(x.shape[-1]))
                error = np.sqrt((w * (x - y) ** 2).sum() / (w * x**2).sum())
                found[rung][tensor] = float(f"{error:.4g}")
    return found


def _tensors(path: Path) -> dict[str, tuple[str, Floats]]:
    return {
        tensor.name: (
            tensor.tensor_type.name,
            gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float64),
        )
        for tensor in gguf.GGUFReader(path).tensors
    }


def _importance(imatrix: str) -> dict[str, Floats]:
    """As llama-quantize reads it: mean squares of activations, in single precision."""
    stored = {tensor.name: np.asarray(tensor.data) for tensor in gguf.GGUFReader(imatrix).tensors}
    return {
        name.removesuffix(".in_sum2"): (sums / stored[f"{name.removesuffix('.in_sum2')}.counts"])
        .astype(np.float32)
        .astype(np.float64)
        .reshape(-1)
        for name, sums in stored.items()
        if name.endswith(".in_sum2")
    }
