"""How fast a GPU could be at most, by the bytes that it moves and the instructions that it issues; and the goals."""

from __future__ import annotations

from dataclasses import dataclass

LANES = 128
"""Instructions of threads that a multiprocessor issues in a cycle: four warps of 32."""

GOALS = {
    **dict.fromkeys(("Q4_K", "Q2_K", "Q3_K", "Q6_K", "Q6_K with importance"), 40.0),
    "Q5_K": 30.0,
    **dict.fromkeys(("Q4_K with importance", "Q5_K with importance"), 12.0),
    **dict.fromkeys(("Q2_K with importance", "Q3_K with importance"), 10.0),
    **dict.fromkeys(("IQ4_XS", "IQ4_NL", "IQ4_XS with importance", "IQ4_NL with importance"), 20.0),
    **dict.fromkeys(("IQ2_XS with importance", "IQ2_XXS with importance", "IQ2_S", "IQ2_S with importance"), 2.5),
    **dict.fromkeys(("IQ3_XXS", "IQ3_XXS with importance", "IQ3_S", "IQ3_S with importance"), 2.5),
    **dict.fromkeys(("IQ1_S with importance", "IQ1_M", "IQ1_M with importance"), 5.0),
}
"""Thousand million weights per second on an H100, in rows of 4096, for the types that search."""
SEARCHES = frozenset(f"{name} with importance" for name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1"))
"""Those that search and have no figure."""
SEARCH_SHARE = 0.5
"""Of the roofline: what a type that searches shall reach, beside its figure where it has one."""
SIMPLE_SHARE = 0.6
"""Of the copy bandwidth: what the others shall reach."""
LADDER_GOAL = 0.4
"""Thousand million source weights per second, of the whole `bartowski` ladder."""


@dataclass(frozen=True, slots=True)
class Device:
    """What a GPU can do: `bandwidth` in bytes read and written per second by a copy, `clock` in hertz."""

    name: str
    multiprocessors: int
    clock: float
    bandwidth: float

    @property
    def issue_rate(self) -> float:
        """Instructions of threads per second."""
        return self.multiprocessors * LANES * self.clock


@dataclass(frozen=True, slots=True)
class Roofline:
    """The most weights per second that a device can do."""

    by_memory: float
    by_instructions: float

    @property
    def most(self) -> float:
        return min(self.by_memory, self.by_instructions)

    @property
    def bound(self) -> str:
        return "memory" if self.by_memory < self.by_instructions else "instructions"


@dataclass(frozen=True, slots=True)
class Rate:
    """One type as it was measured: weights per second of weights on the GPU, and with their way there and back."""

    label: str
    resident: float
    sent: float
    bytes: float
    """Read and written for a weight."""
    instructions: float
    """Of a thread for a weight."""

    def roofline(self, device: Device) -> Roofline:
        return Roofline(device.bandwidth / self.bytes, device.issue_rate / self.instructions)

    def copy_share(self, device: Device) -> float:
        return self.resident * self.bytes / device.bandwidth

    def row(self, device: Device) -> tuple[str, ...]:
        """Type, rates in thousand millions, bytes, instructions, share of the roofline, what makes it."""
        roofline = self.roofline(device)
        return (
            self.label,
            f"{self.resident / 1e9:.2f}",
            f"{self.sent / 1e9:.2f}",
            f"{self.bytes:.2f}",
            f"{self.instructions:.0f}",
            f"{100 * self.resident / roofline.most:.0f} %",
            roofline.bound,
        )


RATE_TITLES = (
    "type",
    "on the GPU",
    "with the way there and back",
    "bytes",
    "instructions",
    "of the roofline",
    "bound by",
)
GOAL_TITLES = ("type", "goal", "measured", "of the roofline", "of the copy bandwidth", "reached")


def goal_row(rate: Rate, device: Device) -> tuple[str, ...]:
    """What was to be reached, what was, and where it was not, what bounds it."""
    roofline = rate.roofline(device)
    share, copy_share = rate.resident / roofline.most, rate.copy_share(device)
    figure = GOALS.get(rate.label)
    if rate.label in SEARCHES:
        goal, reached = f"{100 * SEARCH_SHARE:.0f} % of the roofline", share >= SEARCH_SHARE
    elif figure is None:
        goal, reached = f"{100 * SIMPLE_SHARE:.0f} % of a copy", copy_share >= SIMPLE_SHARE
    else:
        goal = f"{figure:g} G, {100 * SEARCH_SHARE:.0f} % of the roofline"
        reached = rate.resident >= figure * 1e9 and share >= SEARCH_SHARE
    return (
        rate.label,
        goal,
        f"{rate.resident / 1e9:.2f} G",
        f"{100 * share:.0f} %",
        f"{100 * copy_share:.0f} %",
        "yes" if reached else f"no: {_why(rate, device, share)}",
    )


def _why(rate: Rate, device: Device, share: float) -> str:
    roofline = rate.roofline(device)
    if share < SEARCH_SHARE:
        return (
            f"{roofline.bound} would allow {roofline.most / 1e9:.1f} G; threads wait for something else "
            "(memory of their stacks, each other, too few at a time)"
        )
    per_weight = f"{rate.bytes:.2f} bytes" if roofline.bound == "memory" else f"{rate.instructions:.0f} instructions"
    return f"{roofline.bound}: {per_weight} for a weight allow {roofline.most / 1e9:.1f} G"
