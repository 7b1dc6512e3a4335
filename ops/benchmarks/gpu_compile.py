"""Compile every CUDA kernel for every architecture, with no GPU; write the dated report of what each takes.

python ops/benchmarks/gpu_compile.py
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from records import Record, machine

from ggufactory_kernels.cuda.compiler import ARCHITECTURES, compiler_version
from ggufactory_kernels.cuda.kernels import KERNELS
from ggufactory_kernels.cuda.report import KernelReport, report

THREADS = 2
"""NVRTC compiles outside of Python's lock."""


def main() -> None:
    asked = [(name, architecture) for name in KERNELS for architecture in ARCHITECTURES]
    with ThreadPoolExecutor(THREADS) as pool:
        reports = pool.map(lambda one: next(report([KERNELS[one[0]]], one[1])), asked)
        found = dict(zip(asked, reports, strict=True))
    fused = sum(each.fma_instructions for each in found.values())
    record = Record("gpu-compile", "What the compiler says of the CUDA kernels")
    record.text(
        f"NVRTC {compiler_version()}; {len(KERNELS)} kernels for {len(ARCHITECTURES)} architectures. Fused "
        f"multiply-adds in all of their PTX: {fused}. A cell has the registers of a thread and, after a plus sign, the "
        "bytes that it spills; stack (bytes of a thread, the arrays of a super-block) and shared memory (bytes of a "
        "thread block of 64) are the most of all architectures."
    )
    record.table(
        ("kernel", *ARCHITECTURES, "stack", "shared"),
        [row({architecture: found[name, architecture] for architecture in ARCHITECTURES}) for name in KERNELS],
    )
    record.write(Path(__file__).parent, machine())


def row(reports: Mapping[str, KernelReport]) -> list[str]:
    """Of one kernel, whose `reports` are by architecture."""
    every = list(reports.values())
    return [
        every[0].name,
        *(f"{each.registers} + {each.spill_bytes}" if each.spill_bytes else str(each.registers) for each in every),
        str(max(each.stack_bytes for each in every)),
        str(max(each.shared_bytes for each in every)),
    ]


if __name__ == "__main__":
    main()
