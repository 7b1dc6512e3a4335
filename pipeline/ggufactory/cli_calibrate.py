"""`ggufactory calibrate`: an importance matrix from calibration text."""

from __future__ import annotations

import argparse

from ggufactory.calibrate.distribution import WAYS
from ggufactory.calibration_job import (
    COMPUTE_DTYPES,
    DEFAULT_CONTEXT,
    DEFAULT_HIDDEN_BYTES,
    CalibrationSpec,
    calibrate,
)
from ggufactory.cli_help import CALIBRATE, EXIT_CODES
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
    add("--workers", type=int, metavar="N", default=1, help="divide the work among N, on an embedded Ray (default: 1)")
    add("--ray-address", metavar="ADDR", help="join this Ray cluster, with a worker for each CPU")
    add("--split", choices=("auto", *WAYS), default="auto", help="what is divided (default: what moves fewer bytes)")
    add("--restart", action="store_true", help="drop what an unfinished calibration of the same file has left")
    add("--pre", metavar="NAME", dest="pre_tokenizer", help="llama.cpp's name of an unknown pre-tokenizer")
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
        split=None if options.split == "auto" else options.split,
        restart=options.restart,
    )
    made = calibrate(spec, CalibrationLog())
    unseen = sum(int((entry.counts == 0).sum()) for entry in made.imatrix.entries.values())
    print(
        f"{spec.to}: {len(made.imatrix.entries)} entries from {made.imatrix.chunk_count} chunks of {spec.context} "
        f"tokens; perplexity {made.perplexity:.4f}; {made.bytes_read / 1e9:,.3f} GB of weights read"
    )
    if unseen:
        print(f"{unseen} experts' matrices were reached by no token; `ggufactory imatrix show` lists them")
    return 0
