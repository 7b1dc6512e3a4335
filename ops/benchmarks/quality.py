"""The quality of the bundled model's whole ladder: what `ggufactory evaluate` finds of every rung, with plots.

Verifies first: every rung's perplexity must be within llama-perplexity's own error of what it found, rungs that differ
by more than that must come in its order, and divergences well above llama.cpp's rounding of activations must be
within a tenth of its figures. Writes a dated record beside this file, with the plots.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

from records import Record, machine

from ggufactory.job import ladder_job
from ggufactory.job.evaluation_job import evaluate
from ggufactory.job.evaluation_spec import EvaluationSpec
from ggufactory.job.job_spec import JobSpec
from ggufactory.observe.calibration_log import CalibrationLog
from ggufactory.observe.log_watcher import LogWatcher
from ggufactory.publish.card_text import size
from ggufactory.publish.manifest import require
from ggufactory.publish.measured import MeasuredModel, MeasuredRung, models_of
from ggufactory.publish.pictures import pictures_of
from ggufactory.storage import open_store

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
SOURCE = DATA / "tinylm"
CONTEXT = 128
"""As the recorded figures were made."""
ROUNDING = 0.008
"""More than a tenth of a recorded divergence below this is that of activations rounded to eight bits."""
TOLERANCE = 0.1

Recorded = Mapping[str, Mapping[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ladder", default="all", help="rungs, or a ladder's name (default: all)")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent, help="where record and plots go")
    parser.add_argument("--note", default="", help="what else the reader should know, such as other load")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as target:
        make(target, tuple(options.ladder.split(",")))
        began = time.monotonic()
        texts = (str(SOURCE / "evaluation.txt"),)
        spec = EvaluationSpec(places=(target,), source=str(SOURCE), texts=texts, context=CONTEXT)
        found = evaluate(spec, CalibrationLog())
        seconds = time.monotonic() - began
        (model,) = models_of(require(open_store(target)).entries)
        recorded = recorded_figures(model)
        if faults := [*perplexity_faults(model, recorded), *divergence_faults(model, recorded)]:
            sys.exit("not what llama-perplexity found, so nothing is recorded:\n" + "\n".join(faults))
        write_record(model, recorded, f"{found.chunks} chunks of {CONTEXT} tokens, in {seconds:.0f} s", options)


def make(target: str, ladder: Sequence[str]) -> None:
    """The bundled model's files."""
    imatrix = str(DATA / "imatrix" / "tinylm-bf16.imatrix.gguf")
    ladder_job.run(JobSpec(source=str(SOURCE), to=target, ladder=tuple(ladder), imatrix=(imatrix,)), LogWatcher())


def recorded_figures(model: MeasuredModel) -> Recorded:
    """llama-perplexity's, of the same files, by rung."""
    files = json.loads((DATA / "whole_files.json").read_text())["files"]
    by_rung = {rung.made.rung: files["imatrix"].get(rung.made.rung) for rung in model.rungs}
    return {rung: file["quality"] for rung, file in by_rung.items() if file}


def perplexity_faults(model: MeasuredModel, recorded: Recorded) -> list[str]:
    """Further from the recorded ones than their error, or in another order where they differ by more than that."""
    ours = {rung.made.rung: figure(rung, "perplexity") for rung in model.evaluated}
    faults = [
        f"{rung}: perplexity {ours[rung]}, wanted {told['perplexity']} ± {told['perplexity_error']}"
        for rung, told in recorded.items()
        if abs(ours[rung] - told["perplexity"]) > told["perplexity_error"]
    ]
    for a, b in combinations(recorded, 2):
        apart = recorded[a]["perplexity"] - recorded[b]["perplexity"]
        error = max(recorded[a]["perplexity_error"], recorded[b]["perplexity_error"])
        if abs(apart) > error and apart * (ours[a] - ours[b]) <= 0:
            faults.append(f"{a} and {b} come in another order: {ours[a]} and {ours[b]}")
    return faults


def divergence_faults(model: MeasuredModel, recorded: Recorded) -> list[str]:
    """Mean divergences that are not within `TOLERANCE` of the recorded ones, or above those that rounding dominates."""
    faults = []
    for rung in model.evaluated:
        if (told := recorded.get(rung.made.rung)) is None:
            continue
        ours, theirs = figure(rung, "kld_mean"), told["kld_mean"]
        far = abs(ours / theirs - 1) > TOLERANCE if theirs >= ROUNDING else ours > theirs + ROUNDING * TOLERANCE
        if far:
            faults.append(f"{rung.made.rung}: mean divergence {ours}, llama-perplexity's {theirs}")
    return faults


def write_record(model: MeasuredModel, recorded: Recorded, spent: str, options: argparse.Namespace) -> None:
    record = Record("quality", "The quality of the bundled model's ladder")
    record.text(
        f"Of {len(model.evaluated)} rungs of the bundled model with its importance matrix, over its evaluation text: "
        f"{spent}. Before anything was written, every perplexity was within llama-perplexity's own error of what that "
        "found of the same files, in the same order, and every mean divergence from "
        f"{ROUNDING} on within {TOLERANCE:.0%} of its figure."
    )
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    for picture in pictures_of(model):
        kind = picture.name.rpartition(".")[2]
        for name in picture.files:
            suffix = name.removeprefix(picture.name)
            (options.folder / f"{today}-{kind}{suffix}").write_bytes(picture.draw(suffix, ""))
        record.text(f"![{picture.alt}]({today}-{kind}.svg)")
    titles = ("rung", "size", "perplexity", "KLD mean", "llama-perplexity's", "median", "99 %", "99.9 %", "same top")
    record.table((*titles, "RMS Δp"), [row(rung, recorded.get(rung.made.rung)) for rung in model.evaluated])
    record.text(
        "llama-perplexity rounds activations to eight bits on a CPU, which `evaluate` does not: its divergences of the "
        "large rungs are mostly that."
    )
    if options.note:
        record.text(options.note)
    record.write(options.folder, machine("torch", "transformers", "matplotlib"))


def row(rung: MeasuredRung, told: Mapping[str, Any] | None) -> tuple[str, ...]:
    return (
        rung.made.rung,
        size(rung.made.bytes),
        f"{figure(rung, 'perplexity'):.4f} ± {figure(rung, 'perplexity_error'):.4f}",
        f"{figure(rung, 'kld_mean'):.6f}",
        f"{told['kld_mean']:.6f}" if told else "",
        f"{figure(rung, 'kld_median'):.6f}",
        f"{figure(rung, 'kld_99'):.5f}",
        f"{figure(rung, 'kld_99_9'):.5f}",
        f"{figure(rung, 'same_top'):.2%}",
        f"{figure(rung, 'rms_probability_change'):.2%}",
    )


def figure(rung: MeasuredRung, name: str) -> float:
    assert rung.quality is not None, rung.made.rung
    return rung.quality[name]


if __name__ == "__main__":
    main()
