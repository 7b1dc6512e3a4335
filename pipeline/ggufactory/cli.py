"""The command line: parse, call, map errors to exit codes."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from rich.console import Console

from ggufactory import __version__, job
from ggufactory.cli_help import ABOUT, EXIT_CODES, INSPECT, PLAN, QUANTIZE, VERIFY
from ggufactory.errors import GgufactoryError, InputError
from ggufactory.inspection import inspect
from ggufactory.observe import tables
from ggufactory.observe.log_watcher import LogWatcher
from ggufactory.observe.terminal_watcher import TerminalWatcher
from ggufactory.plan.summary import as_json
from ggufactory.publish.verify import verify
from ggufactory.spec import DEVICES, JobSpec, load_job, parse_size
from ggufactory.storage import open_store

_WIDTH_OF_FILES = 160


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code as `ggufactory --help` lists them."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _stop)
    try:
        return int(options.command(options))
    except GgufactoryError as error:
        print(f"ggufactory: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("ggufactory: interrupted; the same command resumes", file=sys.stderr)
        return 130
    except _StoppedError:
        print("ggufactory: stopped; the same command resumes", file=sys.stderr)
        return 143
    except BrokenPipeError:
        # Whoever read our output has enough of it (`| head`); nothing is wrong.
        sys.stderr.close()
        return 0


class _StoppedError(BaseException):
    """SIGTERM. Not an Exception: nothing on the way out may take it for a failure."""


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise _StoppedError


def _quantize(options: argparse.Namespace) -> int:
    spec = _spec(options)
    if sys.stderr.isatty():
        with TerminalWatcher() as shown:
            result = job.run(spec, shown)
        tally = shown.tally
    else:
        logged = LogWatcher()
        result = job.run(spec, logged)
        tally = logged.tally
    tables.print_result(_console(), spec.require_target(), result, tally)
    return 0


def _plan(options: argparse.Namespace) -> int:
    spec = _spec(options)
    plan = job.make_plan(spec, open_store(spec.to) if spec.to else None)
    if options.json:
        print(json.dumps(as_json(plan), indent=1))
    else:
        tables.print_plan(_console(), plan)
    return 0


def _verify(options: argparse.Namespace) -> int:
    console = _console()
    verdicts = verify(open_store(options.target), lambda verdict: tables.print_verdict(console, verdict))
    faults = sum(bool(v.fault) for v in verdicts)
    if faults:
        raise InputError(
            f"{options.target}: {faults} of {len(verdicts)} artifacts are not what was made",
            fix="Delete them and start the job again: it makes only what is missing",
        )
    return 0


def _inspect(options: argparse.Namespace) -> int:
    tables.print_inspection(_console(), inspect(options.path))
    return 0


def _console() -> Console:
    """Where there is no terminal whose width counts, lines are as long as tables need."""
    return Console() if sys.stdout.isatty() else Console(width=_WIDTH_OF_FILES)


def _spec(options: argparse.Namespace) -> JobSpec:
    """The job file's fields, and over them the flags that were given."""
    asked = load_job(options.job) if options.job else {}
    for name in (
        "source",
        "to",
        "imatrix",
        "name",
        "ray_address",
        "workers",
        "device",
        "span_size",
        "allow_requantize",
    ):
        if getattr(options, name, None) is not None:
            asked[name] = getattr(options, name)
    if options.ladder is not None:
        asked["ladder"] = tuple(r.strip() for r in options.ladder.split(",") if r.strip())
    if "source" not in asked:
        raise InputError("no source", fix="Name a checkpoint: a folder or a .gguf file, local or on s3://bucket/prefix")
    size = asked.pop("span_size", None)
    return JobSpec(ladder=asked.pop("ladder", ()), span_bytes=parse_size(str(size)) if size else None, **asked)


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("ggufactory", description=ABOUT, epilog=EXIT_CODES, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"ggufactory {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    quantize = commands.add_parser(
        "quantize",
        help="make the files of a ladder",
        description=QUANTIZE,
        epilog=EXIT_CODES,
        formatter_class=raw,
    )
    _add_job_options(quantize)
    cluster = quantize.add_argument_group("where it runs")
    cluster.add_argument(
        "--ray-address", metavar="ADDR", help="join this Ray cluster ('auto': the one on this machine)"
    )
    cluster.add_argument(
        "--workers", type=int, metavar="N", help="spans at once on an embedded Ray (default: one per core)"
    )
    cluster.add_argument("--device", choices=DEVICES, help="what quantizes (default: auto)")
    quantize.set_defaults(command=_quantize)

    plan = commands.add_parser(
        "plan", help="say what quantize would do", description=PLAN, epilog=EXIT_CODES, formatter_class=raw
    )
    _add_job_options(plan)
    plan.add_argument("--json", action="store_true", help="print the whole plan as JSON")
    plan.set_defaults(command=_plan)

    check = commands.add_parser(
        "verify", help="read a target back", description=VERIFY, epilog=EXIT_CODES, formatter_class=raw
    )
    check.add_argument("target", metavar="TARGET", help="a folder or s3://bucket/prefix with a manifest.json")
    check.set_defaults(command=_verify)

    look = commands.add_parser(
        "inspect",
        help="summarize a checkpoint or a GGUF file",
        description=INSPECT,
        epilog=EXIT_CODES,
        formatter_class=raw,
    )
    look.add_argument("path", metavar="CHECKPOINT_OR_GGUF", help="a folder, a .gguf file, or either on s3://")
    look.set_defaults(command=_inspect)
    return parser


def _add_job_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        nargs="?",
        metavar="SOURCE",
        help="a Hugging Face folder of safetensors or a .gguf file (of a split, the first), local or s3://bucket/prefix",
    )
    parser.add_argument("--to", metavar="TARGET", help="a folder or s3://bucket/prefix")
    parser.add_argument("--ladder", metavar="RUNGS", help="file types of llama-quantize, comma-separated: Q8_0,Q4_K_M")
    parser.add_argument("--imatrix", metavar="FILE", help="an importance matrix of llama-imatrix (.gguf or .dat)")
    parser.add_argument("--name", help="of the files: NAME-RUNG.gguf (default: the last part of SOURCE)")
    parser.add_argument(
        "--allow-requantize",
        action="store_true",
        default=None,
        help="also from tensors that are already quantized: quality is lost twice",
    )
    parser.add_argument(
        "--span-size",
        metavar="SIZE",
        help="wished source bytes of one span, such as 64M (default: by the model)",
    )
    parser.add_argument("--job", metavar="JOB.yaml", help="read these fields from a file; flags override it")
