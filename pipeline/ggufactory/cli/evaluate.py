"""`ggufactory evaluate`: how far every rung is from the model that it was made of."""

from __future__ import annotations

import argparse
import json
import posixpath
from dataclasses import asdict

from ggufactory.checkpoint.source_name import source_name
from ggufactory.cli.help_format import HelpFormatter
from ggufactory.cli.help_texts import EVALUATE, EXIT_CODES
from ggufactory.cli.metrics_flags import add_outcome_flags, exports_of
from ggufactory.evaluate.arithmetic import ACTIVATIONS, COMPUTE_DTYPES, DEVICES, EXACT
from ggufactory.evaluate.plot_paper import check_plot
from ggufactory.evaluate.quality_plot import points_of, write_plot
from ggufactory.job.evaluation_job import evaluate
from ggufactory.job.evaluation_spec import DEFAULT_CONTEXT, DEFAULT_HIDDEN_BYTES, EvaluationSpec
from ggufactory.job.job_spec import parse_size
from ggufactory.observe.calibration_log import CalibrationLog
from ggufactory.observe.console import stdout_console
from ggufactory.observe.quality_table import print_quality


def add_evaluate_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="compare a ladder with its source",
        description=EVALUATE,
        epilog=EXIT_CODES,
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument
    add("places", metavar="TARGET|GGUF", nargs="+", help="targets with a manifest.json, or .gguf files")
    add("--source", metavar="SOURCE", required=True, help="the checkpoint that they were made from")
    add("--text", metavar="FILE", action="append", required=True, help="evaluation text in UTF-8; may be repeated")
    add("--ladder", metavar="RUNGS", help="of a target, these rungs alone: Q4_K_M,IQ3_XXS")
    add("--name", help="of a target with several models: NAME of NAME-RUNG.gguf")
    add("--context", type=int, metavar="N", default=DEFAULT_CONTEXT, help="tokens of a chunk (default: %(default)s)")
    add("--chunks", type=int, metavar="N", help="at most so many chunks (default: all)")
    add("--compute-dtype", choices=COMPUTE_DTYPES, default="float32", help="what to compute in (default: %(default)s)")
    add("--device", choices=DEVICES, default="auto", help="where to compute (default: a GPU if there is one)")
    add(
        "--activations",
        choices=ACTIVATIONS,
        default=EXACT,
        help="what rungs multiply their weights with: exact numbers, or rounded as llama.cpp's CPU rounds them "
        "(default: %(default)s)",
    )
    add("--hidden-memory", metavar="SIZE", help="of hidden states; more go to temporary files (default: 2G)")
    add("--workers", type=int, metavar="N", default=1, help="take the chunks in N shares at once, on an embedded Ray")
    add("--ray-address", metavar="ADDR", help="join this Ray cluster, with a share for each CPU")
    add("--restart", action="store_true", help="drop what an unfinished evaluation in the same folder has done")
    add("--pre", metavar="NAME", dest="pre_tokenizer", help="llama.cpp's name of an unknown pre-tokenizer")
    add("--plot", metavar="FILE", help="draw size against divergence: .svg or .png, local or on s3://")
    add("--json", action="store_true", help="print the figures as JSON")
    add_outcome_flags(parser)
    parser.set_defaults(command=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    spec = EvaluationSpec(
        places=tuple(options.places),
        source=options.source,
        texts=tuple(options.text),
        ladder=tuple(r.strip() for r in (options.ladder or "").split(",") if r.strip()),
        name=options.name,
        context=options.context,
        chunks=options.chunks,
        compute_dtype=options.compute_dtype,
        device=options.device,
        activations=options.activations,
        hidden_bytes=parse_size(options.hidden_memory) if options.hidden_memory else DEFAULT_HIDDEN_BYTES,
        pre_tokenizer=options.pre_tokenizer,
        workers=options.workers,
        ray_address=options.ray_address,
        restart=options.restart,
    )
    if options.plot:
        check_plot(options.plot)
    log = CalibrationLog(steps="layers and comparisons")
    with exports_of(options) as exports, exports.run("evaluate", source_name(spec.source), log.warn):
        found = evaluate(spec, log)
    if options.plot:
        title = f"{posixpath.basename(options.source.rstrip('/'))}: size and divergence of each rung"
        means = {name: quality.kld_mean for name, quality in found.rungs.items()}
        write_plot(options.plot, points_of(means, found.sizes), title)
    if options.json:
        rungs = {name: {"bytes": found.sizes[name], **asdict(quality)} for name, quality in found.rungs.items()}
        print(json.dumps({"context": spec.context, "chunks": found.chunks, "rungs": rungs}, indent=1))
    else:
        print_quality(stdout_console(), found)
    return 0
