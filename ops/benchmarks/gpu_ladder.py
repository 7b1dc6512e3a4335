"""Times all tensor types of a ladder from one upload of their weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
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

    there: torch.Tensor
    x: torch.Tensor
    importance: np.ndarray
    back: dict[str, torch.Tensor]

    @classmethod
    def of(cls, x: torch.Tensor) -> Span:
        columns = x.shape[1]
        back = {
            name: torch.empty(
                (x.shape[0], gk.TENSOR_TYPES[name].row_bytes(columns)), dtype=torch.uint8, pin_memory=True
            )
            for name in TYPES
        }
        there = torch.empty(x.shape, dtype=x.dtype, pin_memory=True).copy_(x)
        return cls(there, x, np.random.default_rng(1).random(columns, dtype=np.float32), back)

    def quantize_resident(self) -> None:
        for name in TYPES:
            gk.quantize(self.x, name, self.importance, device="cuda")

    def quantize_sent(self) -> None:
        x = self.there.to(self.x.device, non_blocking=True)
        for name in TYPES:
            self.back[name].copy_(gk.quantize(x, name, self.importance, device="cuda"), non_blocking=True)


def measure_ladder(
    x: torch.Tensor, counts: dict[str, Operations], seconds: Callable[[Callable[[], object]], float]
) -> Rate:
    """Of weights `x` on a GPU; `seconds`: what a call takes there."""
    span = Span.of(x)
    weights = x.numel()
    return ladder_rate(counts, weights / seconds(span.quantize_resident), weights / seconds(span.quantize_sent))


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
