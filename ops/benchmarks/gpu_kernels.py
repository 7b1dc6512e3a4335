"""Verify and time the CUDA kernels on this machine's GPU; write the dated record beside this file.

    python ops/benchmarks/gpu_kernels.py [--weights 268435456] [--columns 4096] [--rounds 20]

Every type is compared byte for byte with the CPU's kernels first, then timed by the GPU's own events after a
warm-up, on more data than its caches hold: BF16 weights that lie on the GPU, and the same with their way there.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from records import Record, machine

import ggufactory_kernels as gk
from ggufactory_kernels import backends, cuda
from ggufactory_kernels.cuda.compiler import compiler_version
from ggufactory_kernels.mismatch import first_mismatch

VERIFIED_ROWS = 512
"""Compared with the CPU before anything is timed."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Thousand million weights per second of one type, with importance or without."""

    type: str
    weighted: bool
    resident: float
    """Of weights that lie on the GPU."""
    sent: float
    """With their way from pinned memory, and the packed rows' way back."""
    bandwidth: float
    """What the kernel reads and writes of weights and blocks, as a part of the copy bandwidth."""

    def row(self) -> tuple[str, ...]:
        return (
            self.type,
            "yes" if self.weighted else "no",
            f"{self.resident:.2f}",
            f"{100 * self.bandwidth:.0f} %",
            f"{self.sent:.2f}",
        )


def cases() -> list[tuple[str, bool]]:
    """Every type that can be quantized to, without importance and with it where it makes a difference."""
    return [
        (name, weighted)
        for name in cuda.KERNEL_TYPES
        for weighted in (False, True)
        if (gk.TENSOR_TYPES[name].uses_importance or not weighted)
        and (weighted or not gk.TENSOR_TYPES[name].needs_importance)
    ]


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


def measure(x: torch.Tensor, type_: str, weighted: bool, bandwidth: float, rounds: int) -> Rate:
    columns = x.shape[1]
    importance = np.random.default_rng(1).random(columns, dtype=np.float32) if weighted else None
    verify(x, type_, importance)
    resident = seconds(lambda: gk.quantize(x, type_, importance, device="cuda"), rounds)
    there = torch.empty(x.shape, dtype=x.dtype, pin_memory=True).copy_(x)
    sent = seconds(
        lambda: gk.quantize(there.to("cuda", non_blocking=True), type_, importance, device="cuda").cpu(), rounds
    )
    moved = x.numel() * x.element_size() + x.shape[0] * gk.TENSOR_TYPES[type_].row_bytes(columns)
    return Rate(type_, weighted, x.numel() / resident / 1e9, x.numel() / sent / 1e9, moved / resident / bandwidth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--weights", type=int, default=1 << 28)
    parser.add_argument("--columns", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    missing = backends.missing("cuda", "Q8_0")
    if missing is not None:
        sys.exit(f"nothing was measured: {missing}")
    x = torch.randn(options.weights // options.columns, options.columns, device="cuda").mul_(0.02).bfloat16()
    bandwidth = copy_bandwidth(x.numel() * x.element_size(), options.rounds)
    rates = []
    for type_, weighted in cases():
        rates.append(measure(x, type_, weighted, bandwidth, options.rounds))
        print(rates[-1], flush=True)
    record = Record("gpu-kernels", "CUDA kernels")
    record.text(
        f"Thousand million weights per second; BF16, N(0, 0.02²), {x.shape[0]} x {x.shape[1]}, median of "
        f"{options.rounds} by the GPU's events. Each call ends with reading its fault word, so it is waited for. "
        f"A copy on the GPU moves {bandwidth / 1e9:.0f} GB/s (read and written); *of it*: the weights read and blocks "
        "written beside that. Bytes and dequantized values were compared with the CPU's before timing."
    )
    titles = ("type", "importance", "on the GPU", "of it", "with the way there and back")
    record.table(titles, [rate.row() for rate in rates])
    properties = torch.cuda.get_device_properties(0)
    gpu = f"{properties.name}, {properties.multi_processor_count} multiprocessors, {properties.total_memory >> 30} GiB"
    facts = [
        ("GPU", gpu),
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
