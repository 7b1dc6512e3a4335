"""`ggufactory calibrate`: an importance matrix from calibration text."""

from __future__ import annotations

import argparse

from ggufactory.calibration_job import (
    COMPUTE_DTYPES,
    DEFAULT_CONTEXT,
    DEFAULT_HIDDEN_BYTES,
    CalibrationSpec,
    calibrate,
)
from ggufactory.checkpoint.source_name import source_name
from ggufactory.cli_help import CALIBRATE, EXIT_CODES
from ggufactory.cli_metrics import add_outcome_flags, exports_of
from ggufactory.observe.calibration_log import CalibrationLog
from ggufactory.spec import parse_size


def add_calibrate_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "calibrate",
        help="make an importance matrix",
        description=CALIBRATE,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("source", metavar="SOURCE", help="a checkpoint: a folder of safetensors, local, on s3:// or on hf://")
    add("--text", metavar="FILE", action="append", required=True, help="calibration text in UTF-8; may be repeated")
    add("--to", metavar="IMATRIX", required=True, help="the file to write: .gguf or .dat, local or on s3://")
    add("--context", type=int, metavar="N", default=DEFAULT_CONTEXT, help="tokens of a chunk (default: %(default)s)")
    add("--chunks", type=int, metavar="N", help="at most so many chunks (default: all)")
    add("--compute-dtype", choices=COMPUTE_DTYPES, default="float32", help="what to compute in (default: %(default)s)")
    add("--hidden-memory", metavar="SIZE", help="of hidden states; more go to a temporary file (default: 2G)")
    add("--workers", type=int, metavar="N", default=1, help="take the chunks in N shares at once, on an embedded Ray")
    add("--ray-address", metavar="ADDR", help="join this Ray cluster, with a share for each CPU")
    add("--pre", metavar="NAME", dest="pre_tokenizer", help="llama.cpp's name of an unknown pre-tokenizer")
    add_outcome_flags(parser)
    parser.set_defaults(command=_calibrate)


def _calibrate(options: argparse.Namespace) -> int:
    spec = CalibrationSpec(
        source=options.source,
        texts=tuple(options.text),
        to=options.to,
        context=options.context,
        chunks=options.chunks,
        compute_dtype=options.compute_dtype,
        hidden_bytes=parse_size(options.hidden_memory) if options.hidden_memory else DEFAULT_HIDDEN_BYTES,
        pre_tokenizer=options.pre_tokenizer,
        workers=options.workers,
        ray_address=options.ray_address,
    )
    log = CalibrationLog()
    with exports_of(options) as exports, exports.run("calibrate", source_name(spec.source), log.warn):
        made = calibrate(spec, log)
    unseen = sum(int((entry.counts == 0).sum()) for entry in made.imatrix.entries.values())
    print(
        f"{spec.to}: {len(made.imatrix.entries)} entries from {made.imatrix.chunk_count} chunks of {spec.context} "
        f"tokens; perplexity {made.perplexity:.4f}"
    )
    if unseen:
        print(f"{unseen} experts' matrices were reached by no token; `ggufactory imatrix show` lists them")
    return 0
