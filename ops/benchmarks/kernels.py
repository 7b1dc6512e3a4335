"""Time the quantizers against ggml's on one thread, and write the dated record beside this file.

    python ops/benchmarks/kernels.py [--rows 64] [--columns 4096] [--rounds 9] [--note TEXT]

Every type is verified byte for byte first; then ggml and our instruction sets take turns, so that a change
of clock or load meets all of them. Times are CPU time of the thread, the best of the rounds.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "kernels"))

import oracle  # noqa: E402

import ggufactory_kernels as gk  # noqa: E402
from ggufactory_kernels import cpu  # noqa: E402
from ggufactory_kernels.mismatch import first_mismatch  # noqa: E402

CASES = [("F16", False), ("BF16", False), ("Q8_0", False)]
CASES += [(name, weighted) for name in ("Q4_K", "Q6_K") for weighted in (False, True)]
CASES += [(name, True) for name in ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S")]
CASES += [(name, False) for name in ("IQ1_M", "IQ2_S", "IQ3_XXS", "IQ3_S")]
INSTRUCTION_SETS = [name for name, supported in cpu.INSTRUCTION_SETS.items() if supported]


def cpu_seconds(call: Callable[[], None]) -> float:
    start = time.thread_time()
    call()
    return time.thread_time() - start


def measure(
    x: npt.NDArray[np.float32], type_: str, importance: npt.NDArray[np.float32] | None, rounds: int
) -> dict[str, float]:
    """Million weights per second of "ggml" and of each instruction set, after verifying the bytes."""
    columns = x.shape[1]
    out = np.empty((x.shape[0], gk.TENSOR_TYPES[type_].row_bytes(columns)), np.uint8)
    wanted = oracle.quantize(x, type_, importance)
    calls: dict[str, Callable[[], None]] = {"ggml": lambda: oracle.quantize_into(x, type_, out, importance)}
    for isa in INSTRUCTION_SETS:
        calls[isa] = lambda isa=isa: gk.quantize_into(x, "F32", type_, columns, out, importance, isa=isa)  # type: ignore[misc]
        calls[isa]()
        mismatch = first_mismatch(wanted, out, type_, columns)
        if mismatch is not None:
            raise SystemExit(f"{isa}: {mismatch}")
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            best[name] = min(best[name], cpu_seconds(call))
    return {name: x.size / seconds / 1e6 for name, seconds in best.items()}


def machine() -> list[str]:
    """What the operating system and the build say of themselves; no names of hosts or folders."""
    info = Path("/proc/cpuinfo")
    model = platform.processor() or platform.machine()
    if info.exists():
        model = next(
            (line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line), model
        )
    compiler = subprocess.run(["c++", "--version"], capture_output=True, text=True, check=True).stdout
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    changed = subprocess.run(
        ["git", "status", "--porcelain", "kernels"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [
        f"- CPU: {model}, best instruction set {cpu.best_instruction_set()}",
        f"- compiler: {compiler.splitlines()[0]}",
        f"- Python {platform.python_version()}, NumPy {np.__version__}",
        f"- ggml {oracle.ggml_version()} of xllamacpp {importlib.metadata.version('xllamacpp')}",
        f"- commit {commit.stdout.strip()}{', with uncommitted kernels' if changed else ''}",
    ]


def table(rows: int, columns: int, rounds: int) -> list[str]:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((rows, columns)) * 0.02).astype(np.float32)
    importance = rng.random(columns, dtype=np.float32)
    lines = ["| type | ggml | " + " | ".join(INSTRUCTION_SETS) + " |", "|---|---:|" + "---:|" * len(INSTRUCTION_SETS)]
    for type_, weighted in CASES:
        rates = measure(x, type_, importance if weighted else None, rounds)
        cells = [f"{rates[isa]:.1f} ({rates[isa] / rates['ggml']:.1f}x)" for isa in INSTRUCTION_SETS]
        label = f"{type_} with importance" if weighted else type_
        lines.append(f"| {label} | {rates['ggml']:.1f} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--columns", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--note", default="", help="what else the reader should know, such as other load")
    options = parser.parse_args()
    date = datetime.now(UTC).date().isoformat()
    lines = [
        f"# Quantizer kernels, {date}",
        "",
        f"Million weights per second on one thread (CPU time, best of {options.rounds}, in turns with ggml's "
        f"`ggml_quantize_chunk`); {options.rows} x {options.columns} float32 weights, N(0, 0.02²). "
        "Bytes verified before timing. In brackets: times ggml's rate.",
        "",
        *machine(),
        *([f"- {options.note}"] if options.note else []),
        "",
        *table(options.rows, options.columns, options.rounds),
        "",
        f"`python ops/benchmarks/kernels.py --rows {options.rows} --columns {options.columns} "
        f"--rounds {options.rounds}`",
    ]
    (Path(__file__).parent / f"{date}-kernels.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
