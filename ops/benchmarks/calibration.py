"""Calibration of a model of half a billion parameters against llama.cpp's own forward of the same BF16 weights.

Verifies first: the bundled model's importance matrix must be llama-imatrix's, and on the large model both sides must
find the same perplexity. Then they take turns over the same tokens. llama.cpp only evaluates, with the logits of all
tokens; calibration reads the weights, evaluates and sums. Writes a dated record beside this file.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
from calibration_sides import LlamaForward, Pass, Spent, Tokens, calibration_pass
from records import Record, machine

from ggufactory.calibrate.imatrix_file import read_imatrix_file
from ggufactory.job.calibration_job import calibrate
from ggufactory.job.calibration_spec import CalibrationSpec
from ggufactory.observe.calibration_log import CalibrationLog

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
sys.path.insert(0, str(ROOT / "tests"))

from synthetic import LlamaShape, write_llama_checkpoint  # noqa: E402

FULL = LlamaShape(layers=8, hidden=2048, intermediate=8192, heads=16, kv_heads=4, vocab=16384)
QUICK = LlamaShape(layers=3, hidden=1024, intermediate=4096, heads=8, kv_heads=2, vocab=16384)
CONTEXT = 512
CLOSE, AT_MOST = 1e-3, 1e-2
"""How far 99.9 % of the bundled model's columns, and all of them, may be from llama-imatrix's."""
SAME_PERPLEXITY = 1e-3
"""How far perplexities may be apart: llama.cpp rounds what it multiplies with BF16 weights to BF16. On random
tokens a forward with a fault is some hundredths off."""
GOAL, GOAL_OF_TWO = 1.0, 1.8
DTYPES = ("float32", "bfloat16")


@dataclass(slots=True)
class Rate:
    """Tokens per second: the best of several rounds, by the wall clock and by processor time."""

    wall: float = 0.0
    processor: float = 0.0

    def saw(self, tokens: int, *spent: Spent) -> None:
        """What processes that ran at the same time spent."""
        self.wall = max(self.wall, tokens / max(s.wall for s in spent))
        self.processor = max(self.processor, tokens / sum(s.processor for s in spent))


class Sides:
    """Both sides with their processes. A process for each worker, since PyTorch's threads are a process's own."""

    def __init__(self, source: Path, gguf: Path, stack: ExitStack) -> None:
        spawn = get_context("spawn")
        self._pools = [stack.enter_context(ProcessPoolExecutor(1, mp_context=spawn)) for _ in range(2)]
        self._source = str(source)
        self.llama = {threads: LlamaForward(str(gguf), CONTEXT, threads) for threads in (1, 2)}

    def ours(self, dtype: str, chunks: Tokens, *, workers: int = 1, threads: int = 1) -> list[Pass]:
        """One pass of each worker over its share of the chunks, all at once."""
        shares = np.array_split(chunks, workers)
        jobs = [
            pool.submit(calibration_pass, self._source, dtype, share, threads)
            for pool, share in zip(self._pools, shares, strict=False)
        ]
        return [job.result() for job in jobs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=8, help="of 512 tokens (default: 8)")
    parser.add_argument("--rounds", type=int, default=3, help="of which the best counts (default: 3)")
    parser.add_argument("--quick", action="store_true", help="a small model, and no record")
    parser.add_argument("--note", default="", help="what else the reader should know, such as other load")
    options = parser.parse_args()
    shape = QUICK if options.quick else FULL
    chunks = np.random.default_rng(0).integers(3, shape.vocab, (options.chunks, CONTEXT), np.int32)
    record = Record("calibration", "Calibration against llama.cpp's forward of the same BF16 weights")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        bundled = bundled_spread(folder)
        sides = Sides(*write_model(folder, shape), stack)
        perplexities, synthetic = verify(sides, chunks)
        rates = measure(sides, chunks, options.rounds)
    weights = sum(int(np.prod(size)) for _, size in shape.tensors())
    what = f"{weights / 1e6:.0f} M weights, {shape.layers} layers of {shape.hidden}, synthetic"
    record.table(
        ("what", ""),
        [
            ("model", what),
            ("tokens of a pass", f"{chunks.size}, in chunks of {CONTEXT}"),
            ("llama.cpp", "`llama_decode` of one chunk a batch, logits of all tokens, nothing repacked"),
            *((f"perplexity, {side}", f"{found:.2f}") for side, found in perplexities.items()),
        ],
    )
    add_rates(record, rates)
    add_spread(record, bundled, synthetic)
    record.text(
        "Rates are the best of the rounds, in which all took turns. Calibration reads its weights from the checkpoint "
        "in every pass and takes the statistics; llama.cpp has its weights in memory and takes none. By processor time "
        "means tokens per second of all threads together, which other load on the machine does not change."
    )
    if options.note:
        record.text(options.note)
    if options.quick:
        print(record.content)
    else:
        record.write(Path(__file__).parent, machine("torch", "transformers"))


def write_model(folder: Path, shape: LlamaShape) -> tuple[Path, Path]:
    """The checkpoint, and the BF16 file that ggufactory makes of it."""
    source, target = folder / "model", folder / "out"
    write_llama_checkpoint(source, **asdict(shape), shards=1)
    command = [sys.executable, "-m", "ggufactory", "quantize", str(source), "--to", str(target), "--ladder", "BF16"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (gguf,) = target.glob("*.gguf")
    return source, gguf


def bundled_spread(folder: Path) -> npt.NDArray[np.float64]:
    """The bundled model in single precision must give llama-imatrix's values. Returns how far BF16 is from them."""
    recorded = read_imatrix_file(str(DATA / "imatrix" / "tinylm-f32.imatrix.gguf")).content.entries
    source, deviations = DATA / "tinylm", {}
    for dtype in DTYPES:
        spec = CalibrationSpec(
            source=str(source),
            texts=(str(source / "calibration.txt"),),
            to=str(folder / "found.gguf"),
            context=128,
            compute_dtype=dtype,
        )
        found = calibrate(spec, CalibrationLog()).imatrix.entries
        pairs = [
            (found[name].sums.astype(np.float64), entry.sums.astype(np.float64)) for name, entry in recorded.items()
        ]
        deviations[dtype] = np.concatenate([(np.abs(ours - wanted) / wanted).ravel() for ours, wanted in pairs])
    if np.quantile(deviations["float32"], 0.999) > CLOSE or deviations["float32"].max() > AT_MOST:
        sys.exit("the bundled model's matrix is not llama-imatrix's: nothing is timed")
    return deviations["bfloat16"]


def verify(sides: Sides, chunks: Tokens) -> tuple[dict[str, float], npt.NDArray[np.float64]]:
    """The perplexities of all sides, which must agree; and how far the sums in BF16 are from those in single."""
    passes = {dtype: sides.ours(dtype, chunks, threads=2)[0] for dtype in DTYPES}
    found = {"llama.cpp": sides.llama[2].perplexity(chunks)}
    found |= {f"calibration in {dtype}": made.perplexity for dtype, made in passes.items()}
    for side, perplexity in found.items():
        if abs(perplexity / found["llama.cpp"] - 1) > SAME_PERPLEXITY:
            sys.exit(f"perplexity of {side}: {perplexity}, of llama.cpp: {found['llama.cpp']}: nothing is timed")
    single, half = (passes[dtype].sums for dtype in DTYPES)
    return found, np.concatenate([np.abs(half[name] - sums) / sums for name, sums in single.items()])


def measure(sides: Sides, chunks: Tokens, rounds: int) -> dict[tuple[str, int, int], Rate]:
    """By side, workers and threads of each."""
    rates = {("llama.cpp", 1, threads): Rate() for threads in (1, 2)}
    rates |= {(dtype, 1, threads): Rate() for dtype in DTYPES for threads in (1, 2)}
    rates |= {(dtype, 2, 1): Rate() for dtype in DTYPES}
    for number in range(rounds):
        for (side, workers, threads), rate in rates.items():
            if side == "llama.cpp":
                rate.saw(chunks.size, sides.llama[threads].forward(chunks))
            else:
                made = sides.ours(side, chunks, workers=workers, threads=threads)
                rate.saw(chunks.size, *(one.spent for one in made))
            print(f"round {number + 1}: {side}, {workers} x {threads}: {rate}", file=sys.stderr)
    return rates


def add_rates(record: Record, rates: dict[tuple[str, int, int], Rate]) -> None:
    rows, missed = [], []
    for (side, workers, threads), rate in rates.items():
        row = [side, str(workers), str(threads), f"{rate.wall:.0f}", f"{rate.processor:.0f}", "", "", "", ""]
        if side != "llama.cpp" and workers == 1:
            peer = rates["llama.cpp", 1, threads]
            row[5:7] = f"{rate.wall / peer.wall:.2f}", f"{rate.processor / peer.processor:.2f}"
            if rate.wall < GOAL * peer.wall:
                missed.append(f"{side} with {threads} threads: {row[5]} of {GOAL:g} times llama.cpp")
        if workers == 2:
            one = rates[side, 1, 1]
            row[7:9] = f"{rate.wall / one.wall:.2f}", f"{2 * rate.processor / one.processor:.2f}"
            if rate.wall < GOAL_OF_TWO * one.wall:
                missed.append(f"two workers in {side}: {row[7]} of {GOAL_OF_TWO:g} times one")
        rows.append(row)
    record.table(
        (
            "compute",
            "workers",
            "threads of each",
            "tokens/s",
            "tokens/s of processor time",
            "times llama.cpp",
            "by processor time",
            "times one worker",
            "by processor time",
        ),
        rows,
    )
    record.text("Goals missed in this run, by the wall clock: " + ("; ".join(missed) or "none") + ".")


def add_spread(record: Record, bundled: npt.NDArray[np.float64], synthetic: npt.NDArray[np.float64]) -> None:
    cells = [
        (name, *(f"{np.quantile(found, share):.2%}" for share in (0.5, 0.99, 0.999, 1.0)))
        for name, found in (("bundled model, from llama-imatrix", bundled), ("this model, from float32", synthetic))
    ]
    record.table(
        ("sums of squares in bfloat16, relative", "half below", "99 % below", "99.9 % below", "at most"), cells
    )


if __name__ == "__main__":
    main()
