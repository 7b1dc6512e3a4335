"""Times all tensor types of a ladder from one upload of their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from gpu_device import Bench
from gpu_operations import Operations, label
from gpu_roofline import LADDER_GOAL, Device, Rate

import ggufactory_kernels as gk

TYPES = (
    *("IQ2_XXS", "IQ2_XS", "IQ2_S", "Q2_K", "IQ3_XXS", "IQ3_S", "Q3_K", "IQ4_XS", "IQ4_NL"),
    *("Q4_0", "Q4_1", "Q4_K", "Q5_K", "Q6_K", "Q8_0"),
)
"""Every type to which the 27 rungs of `bartowski` quantize a weight with importance. No single weight becomes all
of them: in the CPU's record of that ladder it becomes thirteen on average."""


@dataclass(frozen=True, slots=True)
class Span:
    """Weights in pinned memory and on the GPU, and pinned memory for their blocks of each type."""

    bench: Bench
    there: torch.Tensor
    x: torch.Tensor
    importance: np.ndarray
    back: dict[str, torch.Tensor]

    @classmethod
    def of(cls, bench: Bench, x: torch.Tensor) -> Span:
        columns = x.shape[1]
        back = {
            name: bench.pinned((x.shape[0], gk.TENSOR_TYPES[name].row_bytes(columns)), torch.uint8) for name in TYPES
        }
        there = bench.pinned(x.shape, x.dtype).copy_(x)
        return cls(bench, there, x, np.random.default_rng(1).random(columns, dtype=np.float32), back)

    def quantize_resident(self) -> None:
        for name in TYPES:
            self.bench.quantize(self.x, name, self.importance)

    def quantize_sent(self) -> None:
        x = self.there.to(self.x.device, non_blocking=True)
        for name in TYPES:
            self.back[name].copy_(self.bench.quantize(x, name, self.importance), non_blocking=True)


def measure_ladder(bench: Bench, x: torch.Tensor, counts: dict[str, Operations], rounds: int) -> Rate:
    """Of weights `x` on a GPU."""
    span, weights = Span.of(bench, x), x.numel()
    resident, sent = (bench.seconds(call, rounds) for call in (span.quantize_resident, span.quantize_sent))
    return ladder_rate(counts, weights / resident, weights / sent)


def ladder_rate(counts: dict[str, Operations], resident: float, sent: float) -> Rate:
    """In source weights: bytes and instructions are those of all types."""
    labels = [label(name, gk.TENSOR_TYPES[name].uses_importance) for name in TYPES]
    return Rate(
        f"the ladder: {len(TYPES)} types",
        resident,
        sent,
        bytes=sum(moved_bytes(name, 2) for name in TYPES),
        instructions=sum(counts[name].total for name in labels),
    )


def moved_bytes(type_: str, source_bytes: int, passes: int = 1) -> float:
    """Read and written for a weight, which is read `passes` times."""
    return passes * source_bytes + gk.TENSOR_TYPES[type_].block_bytes / gk.TENSOR_TYPES[type_].block


def ladder_goal(rate: Rate, device: Device) -> Sequence[str]:
    """A row below those of the types, see gpu_roofline.goal_row."""
    roofline = rate.roofline(device)
    share = rate.resident / roofline.most
    reached = rate.resident >= LADDER_GOAL * 1e9
    return (
        rate.label,
        f"{LADDER_GOAL:g} G source weights",
        f"{rate.resident / 1e9:.2f} G",
        f"{100 * share:.0f} %",
        f"{100 * rate.copy_share(device):.0f} %",
        "yes" if reached else f"no: {roofline.bound} would allow {roofline.most / 1e9:.2f} G",
    )
