"""Verify and time the CUDA kernels on this machine's GPU; write the dated record beside this file.

    python ops/benchmarks/gpu_kernels.py [--weights 536870912] [--columns 4096] [--rounds 20]

Every type is compared byte for byte with the CPU's kernels first, then timed by the GPU's own events after a
warm-up, on more data than its caches hold: BF16 weights that lie on the GPU, and the same with their way there; then
all types of a ladder from one upload. Beside each rate stands the roofline of the bytes moved and of the
instructions that gpu_operations.py has counted.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from gpu_ladder import ladder_goal, measure_ladder, moved_bytes
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


def seconds(call: Callable[[], object], rounds: int) -> float:
    """The median by the GPU's events; the first calls, which compile and warm up, do not count."""
    for _ in range(3):
        call()
    times = []
    for _ in range(rounds):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return statistics.median(times)


def verify(x: torch.Tensor, type_: str, importance: np.ndarray | None) -> None:
    """SystemExit where the GPU's bytes are not the CPU's."""
    rows = x[:VERIFIED_ROWS]
    found = gk.quantize(rows, type_, importance, device="cuda").cpu().numpy()
    wanted = gk.quantize(rows.cpu(), type_, importance).numpy()
    mismatch = first_mismatch(wanted, found, type_, x.shape[1])
    if mismatch is not None:
        raise SystemExit(str(mismatch))
    packed = torch.from_numpy(wanted)
    weights = gk.dequantize(packed.cuda(), type_, x.shape[1], device="cuda")
    if not torch.equal(weights.cpu(), gk.dequantize(packed, type_, x.shape[1])):
        raise SystemExit(f"{type_}: dequantized values differ")


def copy_bandwidth(bytes_: int, rounds: int) -> float:
    """Bytes read and written per second by a copy on the GPU."""
    source = torch.empty(bytes_, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * bytes_ / seconds(lambda: target.copy_(source), rounds)


def device(bandwidth: float) -> Device:
    """The current GPU, with the clock that it can reach."""
    from cuda.bindings import driver

    properties = torch.cuda.get_device_properties()
    attribute = driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_CLOCK_RATE
    result, kilohertz = driver.cuDeviceGetAttribute(attribute, torch.cuda.current_device())
    if int(result) != 0:
        raise SystemExit(f"the GPU's clock: {result.name}")
    return Device(properties.name, properties.multi_processor_count, kilohertz * 1e3, bandwidth)


def measure(x: torch.Tensor, type_: str, weighted: bool, counted: Operations, rounds: int) -> Rate:
    columns = x.shape[1]
    importance = np.random.default_rng(1).random(columns, dtype=np.float32) if weighted else None
    verify(x, type_, importance)
    resident = seconds(lambda: gk.quantize(x, type_, importance, device="cuda"), rounds)
    there = torch.empty(x.shape, dtype=x.dtype, pin_memory=True).copy_(x)
    back = torch.empty((x.shape[0], gk.TENSOR_TYPES[type_].row_bytes(columns)), dtype=torch.uint8, pin_memory=True)

    def there_and_back() -> None:
        packed = gk.quantize(there.to("cuda", non_blocking=True), type_, importance, device="cuda")
        back.copy_(packed, non_blocking=True)

    sent = seconds(there_and_back, rounds)
    passes = 2 if weighted and type_ in WEIGHED_BY_ROW else 1
    return Rate(
        label(type_, weighted),
        x.numel() / resident,
        x.numel() / sent,
        moved_bytes(type_, x.element_size(), passes),
        counted.total,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--weights", type=int, default=1 << 29)
    parser.add_argument("--columns", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    missing = backends.missing("cuda", "Q8_0")
    if missing is not None:
        sys.exit(f"nothing was measured: {missing}")
    counted = counts()
    x = torch.randn(options.weights // options.columns, options.columns, device="cuda", dtype=torch.bfloat16).mul_(0.02)
    gpu = device(copy_bandwidth(x.numel() * x.element_size(), options.rounds))
    rates = []
    for type_, weighted in cases():
        rates.append(measure(x, type_, weighted, counted[label(type_, weighted)], options.rounds))
        print(rates[-1], flush=True)
    ladder = measure_ladder(x, counted, partial(seconds, rounds=LADDER_ROUNDS))
    write_record(gpu, x, rates, ladder, options.rounds)


def write_record(gpu: Device, x: torch.Tensor, rates: list[Rate], ladder: Rate, rounds: int) -> None:
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
    record.table(RATE_TITLES, [rate.row(gpu) for rate in [*rates, ladder]])
    record.text("The goals, for an H100:")
    record.table(GOAL_TITLES, [*(goal_row(rate, gpu) for rate in rates), ladder_goal(ladder, gpu)])
    properties = torch.cuda.get_device_properties()
    facts = [
        ("GPU", f"{gpu.name}, {gpu.multiprocessors} multiprocessors, {properties.total_memory >> 30} GiB"),
        ("CUDA", f"driver {driver_version()}, NVRTC {compiler_version()}, torch {torch.__version__}"),
    ]
    record.write(Path(__file__).parent, [*facts, *machine()])


def driver_version() -> str:
    """The CUDA release that the driver knows."""
    from cuda.bindings import driver

    _, number = driver.cuDriverGetVersion()
    return f"{number // 1000}.{number % 1000 // 10}"


if __name__ == "__main__":
    main()
