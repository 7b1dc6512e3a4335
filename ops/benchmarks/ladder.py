"""The ladder of a 1 GB checkpoint, end to end, against ggml's own quantizers on the same weights.

Verifies first: every file of the bundled model must have llama-quantize's SHA-256. Then runs the
command as a user would, and in the same run the reference arithmetic (`ggml_quantize_chunk`, one
thread) over a sample of the same rows and types. Writes a dated record beside this file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import struct
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from records import Record, machine

from ggufactory.calibrate.imatrix import read_importance_matrix
from ggufactory.job import ladder_job
from ggufactory.job.job_spec import JobSpec
from ggufactory.plan.ladder import LADDERS
from ggufactory.plan.plan import Plan

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "kernels")]

import oracle  # noqa: E402

from synthetic import write_llama_checkpoint  # noqa: E402

VERIFIED = ("Q8_0", "Q6_K", "Q4_K_M", "IQ4_XS", "IQ3_M", "IQ2_XS")
SHAPE = {"layers": 8, "hidden": 2048, "intermediate": 8192, "heads": 16, "kv_heads": 4, "vocab": 16384, "shards": 3}
SAMPLING_SECONDS = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ladder", default="Q8_0,Q6_K,Q4_K_M", help="rungs, or a ladder's name")
    parser.add_argument("--sample", type=int, default=8, help="ggml quantizes every n-th row (default: 8)")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        verify(folder / "verified")
        source, imatrix, target = folder / "model", folder / "imatrix.dat", folder / "out"
        write_llama_checkpoint(source, **SHAPE)
        spec = JobSpec(source=str(source), to=str(target), ladder=("Q8_0",))
        write_imatrix(ladder_job.make_plan(spec), imatrix)
        usage = measure(quantize_command(source, target, imatrix, options.ladder, options.workers))
        subprocess.run([*GGUFACTORY, "verify", str(target)], check=True, stdout=subprocess.DEVNULL)
        ladder = tuple(options.ladder.split(","))
        plan = ladder_job.make_plan(JobSpec(source=str(source), to=str(target), ladder=ladder, imatrix=(str(imatrix),)))
        write_record(plan, usage, reference_seconds(plan, source, imatrix, options.sample), options)


GGUFACTORY = [sys.executable, "-m", "ggufactory"]


def quantize_command(source: Path, target: Path, imatrix: Path, ladder: str, workers: int) -> list[str]:
    flags = ["--ladder", ladder, "--imatrix", str(imatrix), "--workers", str(workers)]
    return [*GGUFACTORY, "quantize", str(source), "--to", str(target), *flags]


def verify(target: Path) -> None:
    """Files of the bundled model must be the reference's before anything is timed."""
    imatrix = DATA / "imatrix" / "tinylm-bf16.imatrix.gguf"
    command = quantize_command(DATA / "tinylm", target, imatrix, ",".join(VERIFIED), 2)
    subprocess.run(command, check=True, capture_output=True)
    golden = json.loads((DATA / "whole_files.json").read_text())["files"]["imatrix"]
    for rung in VERIFIED:
        found = hashlib.sha256((target / f"tinylm-{rung}.gguf").read_bytes()).hexdigest()
        if found != golden[rung]["sha256"]:
            sys.exit(f"tinylm-{rung}.gguf is not llama-quantize's file: nothing is timed")


def write_imatrix(plan: Plan, path: Path) -> None:
    """A legacy importance file with an entry for every matrix of a block; values as calibration gives them."""
    random = np.random.default_rng(1)
    entries = [t for t in plan.tensors if t.name.startswith("blk.") and t.rows > 1]
    with path.open("wb") as file:
        file.write(struct.pack("<i", len(entries)))
        for tensor in entries:
            name, values = tensor.name.encode(), random.chisquare(2, tensor.columns).astype(np.float32)
            file.write(struct.pack("<i", len(name)) + name + struct.pack("<ii", 1, len(values)) + values.tobytes())
        file.write(struct.pack("<ii", 1, 4) + b"none")


@dataclass
class Usage:
    """Of a command and everything it started."""

    wall: float = 0.0
    driver_rss: int = 0
    worker_rss: int = 0
    cpu_by_process: dict[int, float] = field(default_factory=dict)

    @property
    def cpu(self) -> float:
        return sum(self.cpu_by_process.values())


def measure(command: list[str]) -> Usage:
    """Run it; CPU and memory are sampled, so the last tenth of a second of each process is not counted."""
    usage = Usage()
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        sample(psutil.Process(process.pid), usage)
        time.sleep(SAMPLING_SECONDS)
    usage.wall = time.monotonic() - began
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return usage


def sample(driver: psutil.Process, usage: Usage) -> None:
    try:
        processes = [driver, *driver.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in processes:
        try:
            times, rss = process.cpu_times(), process.memory_info().rss
            is_worker = "".join(process.cmdline()[:1]).startswith("ray::")
        except psutil.Error:
            continue
        usage.cpu_by_process[process.pid] = times.user + times.system
        if process.pid == driver.pid:
            usage.driver_rss = max(usage.driver_rss, rss)
        elif is_worker:
            usage.worker_rss = max(usage.worker_rss, rss)


def reference_seconds(plan: Plan, source: Path, imatrix: Path, sample_of: int) -> dict[str, tuple[float, int]]:
    """CPU seconds of ggml, on one thread, for every distinct (tensor, type), by type: (seconds, weights).

    Measured on every `sample_of`-th row and scaled. Reading and widening to float32 is not counted.
    """
    importance = read_importance_matrix(str(imatrix))
    found: dict[str, tuple[float, int]] = defaultdict(lambda: (0.0, 0))
    for tensor in plan.tensors:
        kinds = {rung.decisions[tensor.name].type for rung in plan.rungs} - {tensor.converted_type}
        if not kinds:
            continue
        (rows,) = tensor.sources
        stored = np.memmap(source / rows.file, np.uint8, "r", rows.offset, (rows.rows, rows.columns * 2))
        sampled = np.ascontiguousarray(stored[::sample_of]).view(np.uint16)
        weights = (sampled.astype(np.uint32) << 16).view(np.float32)
        entry = importance.for_tensor(tensor.name, 1, tensor.columns)
        for kind in kinds:
            began = time.thread_time()
            oracle.quantize(weights, kind, None if entry is None else entry[0])
            seconds = (time.thread_time() - began) * rows.rows / len(weights)
            found[kind] = found[kind][0] + seconds, found[kind][1] + rows.rows * rows.columns
    return dict(found)


def write_record(plan: Plan, usage: Usage, peer: dict[str, tuple[float, int]], options: argparse.Namespace) -> None:
    source = sum(info.size for info in plan.sources.values())
    peer_seconds = sum(seconds for seconds, _ in peer.values())
    rungs = [rung.name for rung in plan.rungs]
    named = options.ladder if options.ladder in LADDERS else ""
    record = Record(f"ladder-{named}" if named else "ladder", "The ladder of a 1 GB checkpoint, end to end")
    record.table(
        ("what", "measured"),
        [
            ("checkpoint", f"{source / 1e9:.2f} GB BF16, {plan.elements / 1e6:.0f} M weights, synthetic"),
            (f"ladder {named}".strip(), f"{len(rungs)} rungs with importance: {', '.join(rungs)}"),
            ("written", f"{sum(r.bytes for r in plan.rungs) / 1e9:.2f} GB in {len(plan.spans)} spans"),
            ("workers", f"{options.workers}, one CPU each, embedded Ray, folder to folder"),
            ("wall time, Ray's start included", f"{usage.wall:.1f} s"),
            ("CPU time of every process, Ray included", f"{usage.cpu:.1f} s"),
            ("largest worker", f"{usage.worker_rss / 1e6:.0f} MB resident; planned {plan.worker_bytes / 1e6:.0f} MB"),
            ("driver", f"{usage.driver_rss / 1e6:.0f} MB resident"),
            ("ggml_quantize_chunk alone, same weights and types", f"{peer_seconds:.1f} CPU s"),
            ("ratio of CPU times", f"{peer_seconds / usage.cpu:.1f}"),
        ],
    )
    record.table(
        ("type", "ggml, CPU s", "weights, M", "ggml, M weights/s"),
        [(k, f"{s:.1f}", f"{n / 1e6:.0f}", f"{n / 1e6 / s:.1f}") for k, (s, n) in sorted(peer.items())],
    )
    record.text(
        f"ggml was measured on every {options.sample}th row and scaled; it read nothing and wrote nothing, while the "
        "job's CPU time holds reading, checksums, writing, reading back and Ray itself."
    )
    record.write(Path(__file__).parent, machine())


if __name__ == "__main__":
    main()
