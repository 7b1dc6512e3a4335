"""How much processor time a job will take, before it runs: from rates that were measured.

For sizing a cluster (docs/sizing.md), not for billing: another processor is another number, and one without AVX-512
takes up to twice as long, one without AVX2 up to four times.
"""

from __future__ import annotations

from collections.abc import Mapping

from ggufactory.plan.plan import Plan

MILLION_WEIGHTS_PER_SECOND: Mapping[str, tuple[float | None, float | None]] = {
    "F16": (2097.8, 2097.8),
    "BF16": (4838.8, 4838.8),
    "Q4_0": (2249.4, 208.1),
    "Q4_1": (1645.1, 64.9),
    "Q5_0": (1307.4, 237.7),
    "Q5_1": (1924.5, 60.0),
    "Q8_0": (1330.1, 1330.1),
    "Q1_0": (2508.1, 2508.1),
    "Q2_0": (1735.1, 1735.1),
    "Q2_K": (133.3, 73.0),
    "Q3_K": (473.2, 224.5),
    "Q4_K": (120.4, 68.0),
    "Q5_K": (146.8, 66.6),
    "Q6_K": (229.3, 191.5),
    "IQ1_S": (None, 59.2),
    "IQ1_M": (61.1, 48.5),
    "IQ2_XXS": (None, 31.0),
    "IQ2_XS": (None, 29.8),
    "IQ2_S": (33.8, 39.8),
    "IQ3_XXS": (18.8, 21.2),
    "IQ3_S": (28.9, 25.8),
    "IQ4_NL": (110.9, 96.5),
    "IQ4_XS": (115.5, 90.2),
    "TQ1_0": (2312.1, 2312.1),
    "TQ2_0": (1943.2, 1943.2),
    "MXFP4": (858.3, 858.3),
    "NVFP4": (683.2, 683.2),
}
"""By tensor type: of one core with AVX-512, without importance and with it; None where the type is not made so.
From ops/benchmarks/2026-11-22-kernels.md."""

SECONDS_PER_GB_WRITTEN = 7.9
"""Everything but the quantizers: reading, measuring errors, checksums, uploading, reading back. What the job of
ops/benchmarks/2026-11-22-ladder-bartowski.md took beyond these rates, over the 9.22 GB that it wrote into a folder."""


def quantizing_seconds(plan: Plan) -> float:
    """Of one core, in the quantizers: each distinct type of a tensor is made once, however many rungs use it."""
    seconds = 0.0
    for tensor in plan.tensors:
        made = {(rung.decisions[tensor.name].type, rung.weighs(tensor.name)) for rung in plan.rungs}
        rates = (_rate(kind, weighed) for kind, weighed in made if kind != tensor.converted_type)
        seconds += sum(tensor.rows * tensor.columns / (rate * 1e6) for rate in rates if rate)
    return seconds


def processor_seconds(plan: Plan) -> float:
    """Of one core, for everything that the plan makes, from its first span to the last checksum. What starts Ray
    (some 15 s) and decoding packed weights are not in it."""
    written = sum(rung.bytes for rung in plan.rungs)
    return quantizing_seconds(plan) + SECONDS_PER_GB_WRITTEN * written / 1e9


def _rate(kind: str, weighed: bool) -> float | None:
    """None for what is copied or widened: that is moving, not quantizing."""
    return MILLION_WEIGHTS_PER_SECOND.get(kind, (None, None))[weighed]
