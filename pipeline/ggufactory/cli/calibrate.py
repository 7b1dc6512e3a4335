"""`ggufactory calibrate`: an importance matrix from calibration text."""

from __future__ import annotations

import argparse

from ggufactory.calibrate.coverage import AS_LLAMA_CPP
from ggufactory.calibrate.distribution import WAYS
from ggufactory.calibrate.imatrix_statistics import compute_statistics
from ggufactory.calibrate.text.default_text import DEFAULT
from ggufactory.checkpoint.source_name import source_name
from ggufactory.cli.coverage_flags import add_coverage_flags, coverage_of
from ggufactory.cli.help_format import HelpFormatter
from ggufactory.cli.help_texts import CALIBRATE, EXIT_CODES
from ggufactory.cli.metrics_flags import add_outcome_flags, exports_of
from ggufactory.job.calibration_job import calibrate
from ggufactory.job.calibration_spec import (
    COMPUTE_DTYPES,
    DEFAULT_CONTEXT,
    DEFAULT_HIDDEN_BYTES,
    DEVICES,
    CalibrationSpec,
)
from ggufactory.job.job_spec import parse_size
from ggufactory.observe import imatrix_tables
from ggufactory.observe.calibration_log import CalibrationLog
from ggufactory.observe.console import stdout_console
from ggufactory.observe.numbers import counted


def add_calibrate_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "calibrate",
        help="make an importance matrix",
        description=CALIBRATE,
        epilog=EXIT_CODES,
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument
    add("source", metavar="SOURCE", help="a checkpoint: a folder of safetensors, local, on s3:// or on hf://")
    add(
        "--text",
        metavar="FILE",
        action="append",
        help="calibration text in UTF-8; may be repeated (default: 'default', which comes with the package)",
    )
    add("--to", metavar="IMATRIX", required=True, help="the file to write: .gguf or .dat, local or on s3://")
    add("--context", type=int, metavar="N", default=DEFAULT_CONTEXT, help="tokens of a chunk (default: %(default)s)")
    add("--chunks", type=int, metavar="N", help="at most so many chunks (default: all)")
    add("--compute-dtype", choices=COMPUTE_DTYPES, default="float32", help="what to compute in (default: %(default)s)")
    add("--device", choices=DEVICES, default="auto", help="where to compute (default: a GPU if there is one)")
    add("--hidden-memory", metavar="SIZE", help="of hidden states; more go to a temporary file (default: 2G)")
    add("--workers", type=int, metavar="N", default=1, help="divide the work among N, on an embedded Ray (default: 1)")
    add("--ray-address", metavar="ADDR", help="join this Ray cluster, with a worker for each CPU")
    add("--split", choices=("auto", *WAYS), default="auto", help="what is divided (default: what moves fewer bytes)")
    add("--restart", action="store_true", help="drop what an unfinished calibration of the same file has left")
    add("--pre", metavar="NAME", dest="pre_tokenizer", help="llama.cpp's name of an unknown pre-tokenizer")
    add_coverage_flags(parser)
    add_outcome_flags(parser)
    parser.set_defaults(command=_calibrate)


def _calibrate(options: argparse.Namespace) -> int:
    spec = CalibrationSpec(
        source=options.source,
        texts=tuple(options.text or (DEFAULT,)),
        to=options.to,
        context=options.context,
        chunks=options.chunks,
        coverage=coverage_of(options, AS_LLAMA_CPP),
        compute_dtype=options.compute_dtype,
        device=options.device,
        hidden_bytes=parse_size(options.hidden_memory) if options.hidden_memory else DEFAULT_HIDDEN_BYTES,
        pre_tokenizer=options.pre_tokenizer,
        workers=options.workers,
        ray_address=options.ray_address,
        split=None if options.split == "auto" else options.split,
        restart=options.restart,
    )
    log = CalibrationLog()
    with exports_of(options) as exports, exports.run("calibrate", source_name(spec.source), log.warn):
        made = calibrate(spec, log)
    print(
        f"{spec.to}: {len(made.imatrix.entries)} entries from {counted(made.imatrix.chunk_count, 'chunk')} of "
        f"{spec.context} tokens; perplexity {made.perplexity:.4f}; {made.bytes_read / 1e9:,.3f} GB of weights read"
    )
    coverage = compute_statistics(made.imatrix, few=spec.coverage.tokens, reached=made.record.thin).experts
    imatrix_tables.print_experts(stdout_console(), coverage)
    imatrix_tables.print_policy(stdout_console(), made.record)
    return 0
