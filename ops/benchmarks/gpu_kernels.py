"""Verify and time the CUDA kernels on this machine's GPU; write the dated record beside this file.

    python ops/benchmarks/gpu_kernels.py [--weights 536870912] [--columns 4096] [--rounds 20]

Every type is compared byte for byte with the CPU's kernels first, then timed by the GPU's own events after a
warm-up, on more data than its caches hold: BF16 weights that lie on the GPU, and the same with their way there; then
dequantizing, all types of a ladder from one upload, and what Triton does. Beside each rate stands the roofline of the
bytes moved and of the instructions that gpu_operations.py has counted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from gpu_device import Bench, CudaBench, Facts, copy_bandwidth
from gpu_ladder import ladder_goal, measure_ladder, moved_bytes
from gpu_moving import TITLES as MOVING_TITLES
from gpu_moving import Moved, measure_dequantizers, measure_triton
from gpu_operations import Operations, cases, counts, label
from gpu_roofline import GOAL_TITLES, RATE_TITLES, Device, Rate, goal_row
from records import Record, machine

import ggufactory_kernels as gk
from ggufactory_kernels import backends
from ggufactory_kernels.cuda.compiler import compiler_version
from ggufactory_kernels.mismatch import first_mismatch
from ggufactory_kernels.types import WEIGHED_BY_ROW

VERIFIED_ROWS = 512
"""Compared with the CPU before anything is timed."""
LADDER_ROUNDS = 3
"""Of the ladder, which takes as long as all of its types."""
TRITON_SHARE = 4
"""Of the weights, one in so many for what Triton does: beyond any cache still, and torch's own way takes far more
memory."""


def verify(bench: Bench, x: torch.Tensor, type_: str, importance: np.ndarray | None) -> None:
    """SystemExit where the GPU's bytes are not the CPU's."""
    rows, columns = x[:VERIFIED_ROWS], x.shape[1]
    found = bench.quantize(rows, type_, importance).cpu().numpy()
    wanted = gk.quantize(rows.cpu(), type_, importance).numpy()
    mismatch = first_mismatch(wanted, found, type_, columns)
    if mismatch is not None:
        raise SystemExit(str(mismatch))
    packed = torch.from_numpy(wanted)
    weights = bench.dequantize(packed.to(bench.device), type_, columns)
    if not torch.equal(weights.cpu(), gk.dequantize(packed, type_, columns)):
        raise SystemExit(f"{type_}: dequantized values differ")


def measure(bench: Bench, x: torch.Tensor, type_: str, weighted: bool, counted: Operations, rounds: int) -> Rate:
    columns = x.shape[1]
    importance = np.random.default_rng(1).random(columns, dtype=np.float32) if weighted else None
    verify(bench, x, type_, importance)
    resident = bench.seconds(lambda: bench.quantize(x, type_, importance), rounds)
    there = bench.pinned(x.shape, x.dtype).copy_(x)
    back = bench.pinned((x.shape[0], gk.TENSOR_TYPES[type_].row_bytes(columns)), torch.uint8)

    def there_and_back() -> None:
        packed = bench.quantize(there.to(bench.device, non_blocking=True), type_, importance)
        back.copy_(packed, non_blocking=True)

    sent = bench.seconds(there_and_back, rounds)
    passes = 2 if weighted and type_ in WEIGHED_BY_ROW else 1
    return Rate(
        label(type_, weighted),
        x.numel() / resident,
        x.numel() / sent,
        moved_bytes(type_, x.element_size(), passes),
        counted.total,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    missing = backends.missing("cuda", "Q8_0")
    if missing is not None:
        sys.exit(f"nothing was measured: {missing}")
    run(CudaBench(), options, Path(__file__).parent)


def run(bench: Bench, options: argparse.Namespace, folder: Path) -> None:
    """Verify and time everything; write the record into `folder`. SystemExit where anything is wrong."""
    counted, facts = counts(), bench.facts()
    shape = (options.weights // options.columns, options.columns)
    x = torch.randn(shape, device=bench.device, dtype=torch.bfloat16).mul_(0.02)
    bandwidth = copy_bandwidth(bench, x.numel() * x.element_size(), options.rounds)
    rates = []
    for type_, weighted in cases():
        rates.append(measure(bench, x, type_, weighted, counted[label(type_, weighted)], options.rounds))
        print(rates[-1], flush=True)
    moved = list(measure_dequantizers(bench, x, options.rounds))
    ladder = measure_ladder(bench, x, counted, LADDER_ROUNDS)
    triton_rows = max(shape[0] // TRITON_SHARE // 128, 1) * 128
    moved += measure_triton(bench, triton_rows, shape[1], options.rounds)
    write_record(folder, facts, x, bandwidth, [*rates, ladder], moved, options.rounds)


def write_record(
    folder: Path,
    facts: Facts,
    x: torch.Tensor,
    bandwidth: float,
    rates: Sequence[Rate],
    moved: Sequence[Moved],
    rounds: int,
) -> None:
    """`rates`: of the types, and at last of the ladder."""
    gpu = Device(facts.name, facts.multiprocessors, facts.clock, bandwidth)
    record = Record("gpu-kernels", "CUDA kernels")
    record.text(
        f"Thousand million weights per second; BF16, N(0, 0.02²), {x.shape[0]} x {x.shape[1]}, median of {rounds} "
        f"({LADDER_ROUNDS} for the ladder) by the GPU's events. Each call ends with reading its fault word, so it is "
        "waited for. Bytes and dequantized values were compared with the CPU's before timing."
    )
    record.text(
        f"The roofline: a copy on the GPU moves {gpu.bandwidth / 1e9:.0f} GB/s (read and written), and "
        f"{gpu.multiprocessors} multiprocessors at {gpu.clock / 1e9:.2f} GHz issue {gpu.issue_rate / 1e12:.1f} million "
        "million instructions of threads per second. *Bytes* and *instructions* are those of a weight; the latter were "
        "counted, see the record of gpu_operations.py."
    )
    record.table(RATE_TITLES, [rate.row(gpu) for rate in rates])
    record.text("The goals, for an H100:")
    *types, ladder = rates
    record.table(GOAL_TITLES, [*(goal_row(rate, gpu) for rate in types), ladder_goal(ladder, gpu)])
    record.text(
        "What does little more than move bytes: blocks of the same weights to single precision; packed weights of "
        f"checkpoints to BF16 by Triton, one in {TRITON_SHARE} of as many, compared with plain torch first; and "
        "calibration's sums of squares of as many BF16 numbers."
    )
    record.table(MOVING_TITLES, [each.row(bandwidth) for each in moved])
    about = [
        ("GPU", f"{facts.name}, {facts.multiprocessors} multiprocessors, {facts.memory >> 30} GiB"),
        ("CUDA", f"driver {facts.driver}, NVRTC {compiler_version()}"),
    ]
    record.write(folder, [*about, *machine("torch", "triton", "cuda-bindings")])


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--weights", type=int, default=1 << 29)
    parser.add_argument("--columns", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=20)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
