"""Time the quantizers against ggml's on one thread; write the dated record beside this file and docs/kernels.md.

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
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "kernels"))

import oracle  # noqa: E402
from kernels_scaling import bandwidth_section, threads_section  # noqa: E402

import ggufactory_kernels as gk  # noqa: E402
from ggufactory_kernels import cpu  # noqa: E402
from ggufactory_kernels.mismatch import first_mismatch  # noqa: E402

CASES = [
    (name, weighted)
    for name, type_ in gk.TENSOR_TYPES.items()
    if gk.quantizable(name) and name != "F32"
    for weighted in (False, True)
    if (type_.uses_importance or not weighted) and (weighted or not type_.needs_importance)
]
INSTRUCTION_SETS = [name for name, supported in cpu.INSTRUCTION_SETS.items() if supported]


GOALS = {"x86-64-v4": 10.0, "x86-64-v3": 5.0, "x86-64": 1.0}
"""Times ggml's rate, for types that search for their scales; others shall be twice as fast with the first."""


@dataclass(frozen=True, slots=True)
class Result:
    """Million weights per second of "ggml" and of each instruction set."""

    type: str
    weighted: bool
    rates: dict[str, float]

    @property
    def label(self) -> str:
        return f"{self.type} with importance" if self.weighted else self.type

    @property
    def is_searched(self) -> bool:
        """Short blocks without importance, and whatever makes no use of it, are rounded without a search."""
        short = self.type in ("Q4_0", "Q4_1", "Q5_0", "Q5_1")
        return gk.TENSOR_TYPES[self.type].uses_importance and (self.weighted or not short)

    def ratio(self, isa: str) -> float:
        return self.rates[isa] / self.rates["ggml"]

    def row(self) -> str:
        type_ = gk.TENSOR_TYPES[self.type]
        use = ("yes" if self.weighted else "no") if type_.uses_importance else "unused"
        cells = [f"{self.rates[isa]:.1f} ({self.ratio(isa):.1f}x)" for isa in INSTRUCTION_SETS]
        bits = f"{8 * type_.block_bytes / type_.block:g}"
        return f"| {self.type} | {bits} | {use} | {self.rates['ggml']:.1f} | {' | '.join(cells)} |"


def missed_goals(results: list[Result]) -> list[str]:
    """What is slower than it should be, for the record to explain."""
    missed = []
    for result in results:
        goals = GOALS if result.is_searched else {"x86-64-v4": 2.0, "x86-64": 1.0}
        for isa, goal in goals.items():
            if isa in INSTRUCTION_SETS and result.ratio(isa) < goal:
                missed.append(f"{result.label} with {isa}: {result.ratio(isa):.1f} of {goal:g} times")
    return ["Goals missed in this run: " + ("; ".join(missed) or "none") + "."]


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


def measure_all(rows: int, columns: int, rounds: int) -> list[Result]:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((rows, columns)) * 0.02).astype(np.float32)
    importance = rng.random(columns, dtype=np.float32)
    results = []
    for type_, weighted in CASES:
        rates = measure(x, type_, importance if weighted else None, rounds)
        results.append(Result(type_, weighted, rates))
        print(results[-1], flush=True)
    return results


def speed_table(results: list[Result]) -> list[str]:
    return [
        f"| type | bits per weight | importance | ggml | {' | '.join(INSTRUCTION_SETS)} |",
        "|---|---:|---|---:|" + "---:|" * len(INSTRUCTION_SETS),
        *(result.row() for result in results),
    ]


def docs_page(date: str, results: list[Result]) -> str:
    lines = [
        "# Tensor types and the speed of their quantizers",
        "",
        "Written by `make bench-kernels`: change ops/benchmarks/kernels.py, not this file.",
        "",
        f"Million weights per second on one core, in brackets times ggml's rate, measured {date}; the machine and the "
        f"method stand in ops/benchmarks/{date}-kernels.md. Every kernel gives llama.cpp's bytes in every instruction "
        "set. The best one that the machine has is used: `python -m ggufactory_kernels explain` names it.",
        "",
        "*importance*: with and without an importance matrix; a type without a *no* needs one; *unused*: the bytes are "
        "the same with and without.",
        "",
        *speed_table(results),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--columns", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--note", default="", help="what else the reader should know, such as other load")
    options = parser.parse_args()
    date = datetime.now(UTC).date().isoformat()
    results = measure_all(options.rows, options.columns, options.rounds)
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
        *speed_table(results),
        "",
        *missed_goals(results),
        "",
        *bandwidth_section(),
        "",
        *threads_section(),
        "",
        f"`python ops/benchmarks/kernels.py --rows {options.rows} --columns {options.columns} "
        f"--rounds {options.rounds}`",
    ]
    (Path(__file__).parent / f"{date}-kernels.md").write_text("\n".join(lines) + "\n")
    (ROOT / "docs" / "kernels.md").write_text(docs_page(date, results))


if __name__ == "__main__":
    main()
