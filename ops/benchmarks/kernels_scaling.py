"""What one thread makes of the memory's bandwidth, and what a second thread adds."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

import ggufactory_kernels as gk

ROWS, COLUMNS = 2048, 8192  # 64 MiB of float32: beyond the caches
NOT_SEARCHED = (
    "F16",
    "BF16",
    "Q4_0",
    "Q4_1",
    "Q5_0",
    "Q5_1",
    "Q8_0",
    "Q1_0",
    "Q2_0",
    "TQ1_0",
    "TQ2_0",
    "MXFP4",
    "NVFP4",
)
SEARCHED = ("Q4_K", "Q6_K", "IQ4_XS", "Q8_0")


def best_seconds(call: Callable[[], object], rounds: int, clock: Callable[[], float]) -> float:
    """The fastest of several calls."""
    best = float("inf")
    for _ in range(rounds):
        start = clock()
        call()
        best = min(best, clock() - start)
    return best


def bandwidth_section() -> list[str]:
    """Bytes read and written per second by the types that search nothing, beside those of a plain copy."""
    x = (np.random.default_rng(1).standard_normal((ROWS, COLUMNS)) * 0.02).astype(np.float32)
    copy = np.empty_like(x)
    bandwidth = 2 * x.nbytes / best_seconds(lambda: np.copyto(copy, x), 7, time.thread_time) / 1e9
    lines = [
        f"Types that search nothing, one thread, from and to main memory (CPU time); a copy moves {bandwidth:.1f} GB/s "
        "(read and written).",
        "",
        "| type | GB/s | share of the copy |",
        "|---|---:|---:|",
    ]
    for type_ in NOT_SEARCHED:
        out = np.empty((ROWS, gk.TENSOR_TYPES[type_].row_bytes(COLUMNS)), np.uint8)
        seconds = best_seconds(lambda t=type_, o=out: gk.quantize_into(x, "F32", t, COLUMNS, o), 5, time.thread_time)  # type: ignore[misc]
        rate = (x.nbytes + out.nbytes) / seconds / 1e9
        lines.append(f"| {type_} | {rate:.1f} | {rate / bandwidth:.0%} |")
    return lines


def threads_section() -> list[str]:
    """One thread over two: by the wall clock, and by processor time, which other load does not lengthen."""
    x = (np.random.default_rng(2).standard_normal((512, 4096)) * 0.02).astype(np.float32)
    lines = [
        "Two threads against one: speed-up by the wall clock, and twice the processor time of one over that of two, "
        "which is the speed-up that two idle cores would give.",
        "",
        "| type | wall clock | processor time |",
        "|---|---:|---:|",
    ]
    for type_ in SEARCHED:
        out = np.empty((512, gk.TENSOR_TYPES[type_].row_bytes(4096)), np.uint8)
        calls = [
            lambda t=type_, o=out, n=n: gk.quantize_into(x, "F32", t, 4096, o, threads=n)  # type: ignore[misc]
            for n in (1, 2)
        ]
        wall = [best_seconds(call, 15, time.perf_counter) for call in calls]
        processor = [best_seconds(call, 15, time.process_time) for call in calls]
        lines.append(f"| {type_} | {wall[0] / wall[1]:.2f} | {2 * processor[0] / processor[1]:.2f} |")
    return lines
