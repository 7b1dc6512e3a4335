"""Write docs/sizing.md: what ladders of large models need, from their plans and from rates that were measured.

The plans are in sizing_plans.json, which sizing_plans.py makes.

python ops/docs/sizing.py
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ggufactory.observe.numbers import show_bytes, show_core_time
from ggufactory.plan.memory import TILE_BYTES
from ggufactory.plan.processor_time import SECONDS_PER_GB_WRITTEN

PAGE = Path(__file__).parents[2] / "docs" / "sizing.md"
PLANS = Path(__file__).parent / "sizing_plans.json"

CHECKSUM_SECONDS_PER_GB, CHECKSUM_TAIL_SECONDS_PER_GB = 1.23, 0.76
"""Processor time, and how long one file takes by the clock: ops/benchmarks/2026-11-22-checksum.md."""
CALIBRATED_PER_CORE_SECOND = 554e6 * 100
"""Tokens times the weights that each is multiplied with, in float32: ops/benchmarks/2026-11-22-calibration.md."""
CALIBRATION_TOKENS = 100_000
GPU_WEIGHTS_PER_SECOND = 0.4e9
"""The goal for the whole bartowski ladder on an H100. Not measured: a record of `make bench-gpu` replaces it."""
UPLOAD_DOLLARS, READ_DOLLARS = 5e-6, 4e-7
"""One request, S3 Standard in us-east-1."""
CHECKSUM_CHUNK_BYTES = 16 << 20
"""What one request of the reading back fetches."""

NODE_CORES = 16
NODE_GBIT = 10
NODES = (1, 4, 16, 64)
GPUS = ((1, 25), (1, 100), (8, 100), (8, 400))
"""GPUs, and what they share of the network, in Gbit/s."""


@dataclass(frozen=True, slots=True)
class Job:
    """One ladder of one model, as its plan has it."""

    model: str
    ladder: str
    weights: int
    weights_of_a_token: int
    largest_layer_weights: int
    source_bytes: int
    rungs: int
    written_bytes: int
    largest_file_bytes: int
    spans: int
    parts: int
    worker_bytes: int
    processor_seconds: int

    def seconds(self, cores: float, gbit: float) -> float:
        """On so many cores that share a network of so many Gbit/s each way."""
        network = gbit * 1e9 / 8
        hashing = CHECKSUM_SECONDS_PER_GB * self.written_bytes / 1e9
        spans = max((self.processor_seconds - hashing) / cores, max(self.source_bytes, self.written_bytes) / network)
        return spans + max(hashing / cores, self._checksum_bound(network))

    def gpu_seconds(self, gpus: int, gbit: float) -> float:
        """With so many GPUs, by the goal, and processors enough for all the rest."""
        network = gbit * 1e9 / 8
        quantizing = self.weights / GPU_WEIGHTS_PER_SECOND / gpus
        spans = max(quantizing, max(self.source_bytes, self.written_bytes) / network)
        return spans + self._checksum_bound(network)

    def dollars(self) -> float:
        """Of the requests."""
        reads = self.source_bytes / TILE_BYTES + self.written_bytes / CHECKSUM_CHUNK_BYTES
        return self.parts * UPLOAD_DOLLARS + reads * READ_DOLLARS

    def _checksum_bound(self, network: float) -> float:
        """What no number of cores makes shorter: all files through the network, and one task for the largest."""
        return max(self.written_bytes / network, CHECKSUM_TAIL_SECONDS_PER_GB * self.largest_file_bytes / 1e9)


def jobs() -> list[Job]:
    plans: dict[str, dict[str, Any]] = json.loads(PLANS.read_text(encoding="utf-8"))
    return [Job(model, ladder, **facts) for model, ladders in plans.items() for ladder, facts in ladders.items()]


def page() -> str:
    """The page's whole text."""
    every = jobs()
    whole = [job for job in every if job.ladder == "bartowski"]
    rungs = {job.ladder: job.rungs for job in every}
    return _ABOUT.format(
        ladders=", ".join(f"`{ladder}` ({count} rungs)" for ladder, count in rungs.items()),
        jobs=_table(
            "model|ladder|read>|written>|largest file>|processor time>|memory of a worker>|uploads of parts>|requests>",
            [
                (
                    *(job.model, f"`{job.ladder}`", show_bytes(job.source_bytes), show_bytes(job.written_bytes)),
                    *(show_bytes(job.largest_file_bytes), show_core_time(job.processor_seconds)),
                    *(show_bytes(job.worker_bytes), f"{job.parts:,}", f"${job.dollars():.2f}"),
                )
                for job in every
            ],
        ),
        node_cores=NODE_CORES,
        node_gbit=NODE_GBIT,
        nodes=_table(
            "model|ladder|" + "|".join(f"{n} node{'s' if n > 1 else ''}>" for n in NODES) + "|memory of a node>",
            [
                (
                    *(job.model, f"`{job.ladder}`"),
                    *(_duration(job.seconds(n * NODE_CORES, n * NODE_GBIT)) for n in NODES),
                    show_bytes(job.worker_bytes * NODE_CORES),
                )
                for job in every
            ],
        ),
        calibration=_table(
            "model|weights a token is multiplied with>|processor time>|largest layer, float32>",
            [
                (
                    *(job.model, f"{job.weights_of_a_token / 1e9:.1f} G"),
                    show_core_time(job.weights_of_a_token * CALIBRATION_TOKENS / CALIBRATED_PER_CORE_SECOND),
                    show_bytes(job.largest_layer_weights * 4),
                )
                for job in whole
            ],
        ),
        tokens=f"{CALIBRATION_TOKENS:,}",
        gpu_rate=f"{GPU_WEIGHTS_PER_SECOND / 1e9:g}",
        gpu_gbit=f"{GPU_WEIGHTS_PER_SECOND * 8 * whole[0].written_bytes / whole[0].weights / 1e9:.0f}",
        gpus=_table(
            "model|" + "|".join(f"{n} GPU{'s' if n > 1 else ''}, {gbit} Gbit/s>" for n, gbit in GPUS),
            [(job.model, *(_duration(job.gpu_seconds(n, gbit)) for n, gbit in GPUS)) for job in whole],
        ),
        checksum=CHECKSUM_TAIL_SECONDS_PER_GB,
        sources=_table("what|from", _sources()),
    )


def _sources() -> list[tuple[str, str]]:
    """What each kind of number follows from."""
    return [
        ("bytes, parts, memory", "the plan itself: exact, and a bound that is tested"),
        (
            "quantizers",
            "`ops/benchmarks/2026-11-22-kernels.md`: one thread with AVX-512, each type of a tensor once. With AVX2 "
            "alone most types take 1.2 to 2.3 times as long",
        ),
        (
            "everything else of a job",
            f"{SECONDS_PER_GB_WRITTEN} s of processor time for a GB written: what the job of "
            "`ops/benchmarks/2026-11-22-ladder-bartowski.md` took beyond the quantizers, from folder to folder. TLS "
            "and HTTP of a real store cost more",
        ),
        (
            "reading back",
            f"{CHECKSUM_SECONDS_PER_GB} s of processor time for a GB, {CHECKSUM_TAIL_SECONDS_PER_GB} s by the clock, "
            "`ops/benchmarks/2026-11-22-checksum.md`: one task a file",
        ),
        (
            "calibration",
            f"{CALIBRATED_PER_CORE_SECOND / 1e9:.0f} G weights times tokens a second and core, "
            "`ops/benchmarks/2026-11-22-calibration.md`",
        ),
        (
            "hours",
            "spans, then checksums; each the longer one of processors and network. All cores are busy to the end, the "
            "network carries its rate both ways at once, the store keeps up",
        ),
        (
            "requests",
            f"S3's list prices in us-east-1: ${UPLOAD_DOLLARS * 1000:g} for a thousand uploads, "
            f"${READ_DOLLARS * 1000:g} for a thousand reads",
        ),
    ]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _table(titles: str, rows: Sequence[Sequence[str]]) -> str:
    """`titles` separated by "|"; one that ends in ">" is of numbers."""
    columns = titles.split("|")
    rules = "|".join("---:" if title.endswith(">") else "---" for title in columns)
    lines = ["| " + " | ".join(title.rstrip(">") for title in columns) + " |", f"|{rules}|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


_ABOUT = """\
# What a ladder needs: hours, memory, network

For a model of your own, `ggufactory plan SOURCE --ladder … --to TARGET` tells what is written, the memory of a worker
and about how much processor time it takes. This page is the same arithmetic for four models that are known by their
size, and what follows for clusters. Sizes, parts and memory are those of real plans, made from the published models'
headers for a target on S3; hours follow from rates that were [measured](#where-the-numbers-come-from) on one kind of
machine and are estimates.

It is generated: `python ops/docs/sizing_plans.py && python ops/docs/sizing.py`.

Ladders: {ladders}. All with an importance matrix.

{jobs}

*Read* and *written* count once; what is written is read back once for its checksums. The target needs the space of
what is written and nothing else does: there is no local copy of anything. A worker is one task on one core, and a
node holds as many as it has cores and memory for. `--span-size` makes spans, and so a worker's memory, smaller where
the store allows more parts.

## Hours on processors

Nodes of {node_cores} cores with AVX-512 and {node_gbit} Gbit/s to the store, without the starting of nodes. The last
column is the memory of a node that works on all of its cores, beside what the system and Ray take (some 2 GB).

{nodes}

Two bounds take turns. The searching types (IQ2, IQ3, K-quants with importance) are bound by processors, so the time
halves with twice the nodes; a ladder of many large files comes near the network's bound: a file is sent once and read
back once. What does not get shorter with more nodes is the end: one task reads the largest file back, {checksum} s
for a GB. `--split-max-size 45G` divides it.

## A calibration before it

For {tokens} tokens, in float32. The text that comes along has some more of them or fewer, by the tokenizer. A worker
needs the memory of the largest layer, and what loading it takes; `--compute-dtype bfloat16` halves it. Reading and
decoding the model, once, is not in it.

{calibration}

It divides into chunks or into layers ([importance.md](importance.md#several-workers)), so twice the cores take half
the time until there are more cores than groups of chunks or layers.

## Hours on GPUs: not measured

**No GPU has been timed yet.** The table takes the goal, {gpu_rate} G source weights a second for the `bartowski`
ladder on one H100, as if it were met. It says one thing that does not depend on it being met exactly: at that rate
one GPU makes {gpu_gbit} Gbit/s of files, so buy network before a second GPU. GPUs share the network that is named.

{gpus}

## Where the numbers come from

{sources}

Not in it: Ray's start (some 15 s of processor time), nodes that come and go, retries, decoding of FP8 and other
packed weights (DeepSeek V3 is FP8), traffic between regions. The rates were measured on two logical processors of a
virtual machine; where a cloud sells hyperthreads as cores, two of them do less than twice the work of one. `make
bench` measures your machine.
"""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
