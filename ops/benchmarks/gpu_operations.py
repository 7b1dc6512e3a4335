"""Count what each CUDA kernel executes for a weight, with no GPU; write the dated record and gpu_operations.json.

    python ops/benchmarks/gpu_operations.py

NVRTC's code for sm_90 runs instruction by instruction (tests/kernels/ptx_machine.py) on a thread block's worth of
normal weights, and the bytes are compared with the CPU's. What is counted are warps' instructions: lanes that wait
for others of their warp count as much as those that work.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from records import Record, machine

ROOT = Path(__file__).parents[2]
COUNTS = Path(__file__).with_name("gpu_operations.json")
sys.path.insert(0, str(ROOT / "tests" / "kernels"))

from ptx_machine import WARP, PtxMachine  # noqa: E402

import ggufactory_kernels as gk  # noqa: E402
from ggufactory_kernels import cuda  # noqa: E402
from ggufactory_kernels.cuda import compiler  # noqa: E402
from ggufactory_kernels.cuda.tensors import quantize_tensor  # noqa: E402
from ggufactory_kernels.mismatch import first_mismatch  # noqa: E402

ROWS = 64
SLOTS = {"div.rn.f32": 10, "rcp.rn.f32": 10, "sqrt.rn.f32": 10, "div.u32": 20, "rem.u32": 20, "div.s64": 70}
"""Instructions of the GPU for one of PTX, as the assembler expands it for usual numbers; others are one."""
FREE = ("mov", "cvta", "ld.param", "bra.uni", "abs.f32", "neg.f32")
"""Names, constants and signs of floats, which the assembler makes part of other instructions."""


@dataclass(frozen=True, slots=True)
class Operations:
    """Instructions that a weight costs, by kind: of a thread, idle ones of the same warp included."""

    floats: float
    """Arithmetic and comparisons of floats."""
    divisions: float
    """Divisions and square roots, as what they expand to."""
    memory: float
    """Loads and stores, most of them of the thread's own stack and of shared memory."""
    exchanges: float
    """Shuffles, votes and meetings."""
    others: float
    """Integers, conditions, jumps."""

    @property
    def total(self) -> float:
        return self.floats + self.divisions + self.memory + self.exchanges + self.others


def cases() -> list[tuple[str, bool]]:
    """Every type that can be quantized to, without importance and with it where it makes a difference."""
    return [
        (name, weighted)
        for name in cuda.KERNEL_TYPES
        for weighted in (False, True)
        if (gk.TENSOR_TYPES[name].uses_importance or not weighted)
        and (weighted or not gk.TENSOR_TYPES[name].needs_importance)
    ]


def label(type_: str, weighted: bool) -> str:
    return f"{type_} with importance" if weighted else type_


def kind_of(instruction: str) -> str:
    if instruction in SLOTS:
        return "divisions"
    if instruction.startswith(("ld.", "st.", "atom.")):
        return "memory"
    if instruction.startswith(("shfl.", "vote.", "bar.")):
        return "exchanges"
    return "floats" if instruction.endswith(".f32") and not instruction.startswith("cvt.") else "others"


def operations(executed: Mapping[str, int], weights: int) -> Operations:
    """Of what warps executed in all."""
    kinds = dict.fromkeys(("floats", "divisions", "memory", "exchanges", "others"), 0.0)
    for instruction, times in executed.items():
        if not instruction.startswith(FREE):
            kinds[kind_of(instruction)] += SLOTS.get(instruction, 1) * times * WARP / weights
    return Operations(**kinds)


def count(type_: str, weighted: bool) -> Operations:
    """Of all kernels that one call launches. SystemExit where the bytes are not the CPU's."""
    block = gk.TENSOR_TYPES[type_].block
    columns = max(block, 128) if block > 1 else 4096
    rows = ROWS if block > 1 else 2
    random = np.random.default_rng(1)
    x = torch.from_numpy((random.standard_normal((rows, columns)) * 0.02).astype(np.float32)).bfloat16()
    importance = random.random(columns, dtype=np.float32) if weighted else None
    ptx = PtxMachine()
    packed = quantize_tensor(x, gk.TENSOR_TYPES[type_], importance, ptx).numpy()
    mismatch = first_mismatch(gk.quantize(x, type_, importance).numpy(), packed, type_, columns)
    if mismatch is not None:
        raise SystemExit(str(mismatch))
    return operations(sum(ptx.executed.values(), Counter()), x.numel())


def sources() -> str:
    """What the counts depend on, as one word."""
    return compiler._headers_digest()[:16]


def counts() -> dict[str, Operations]:
    """By label, from the file where it is of these sources; else counted anew, which takes minutes."""
    kept = json.loads(COUNTS.read_text())
    if kept["sources"] != sources():
        print("the kernels have changed since they were counted: counting", flush=True)
        return dict(counted())
    return {name: Operations(**found) for name, found in kept["operations"].items()}


def counted() -> Iterator[tuple[str, Operations]]:
    for type_, weighted in cases():
        found = count(type_, weighted)
        print(f"{label(type_, weighted)}: {found.total:.0f}", flush=True)
        yield label(type_, weighted), found


def main() -> None:
    missing = compiler.missing()
    if missing is not None:
        sys.exit(f"nothing was counted: {missing}")
    found = dict(counted())
    kept = {"sources": sources(), "operations": {name: asdict(each) for name, each in found.items()}}
    COUNTS.write_text(json.dumps(kept, indent=1) + "\n")
    record = Record("gpu-operations", "What the CUDA kernels execute for a weight")
    record.text(
        "Instructions of a thread for each BF16 weight, N(0, 0.02²), a thread block's worth; threads that wait for "
        f"others of their warp included. NVRTC {compiler.compiler_version()}'s code for sm_90, run instruction by "
        "instruction, gave the CPU's bytes. A division or square root counts as the ten instructions that it becomes; "
        "moves of registers and signs of floats do not count. No GPU is needed for this, and none was used."
    )
    titles = ("type", "all", "float", "division, root", "memory", "exchange", "integer, condition, jump")
    parts = ("total", "floats", "divisions", "memory", "exchanges", "others")
    record.table(titles, [(name, *(f"{getattr(each, part):.1f}" for part in parts)) for name, each in found.items()])
    record.write(Path(__file__).parent, machine())


if __name__ == "__main__":
    main()
