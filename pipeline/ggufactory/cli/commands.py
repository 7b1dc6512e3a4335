"""The command line: parse, call, map errors to exit codes."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from ggufactory import __version__, interrupts
from ggufactory.assemble.lease import leased
from ggufactory.cli.calibrate import add_calibrate_command
from ggufactory.cli.card import add_card_command
from ggufactory.cli.choose import add_choose_command
from ggufactory.cli.evaluate import add_evaluate_command
from ggufactory.cli.fetch import add_fetch_command
from ggufactory.cli.gc import add_gc_command
from ggufactory.cli.help_texts import ABOUT, EXIT_CODES, PLAN, QUANTIZE, REPUBLISH, VERIFY
from ggufactory.cli.imatrix import add_imatrix_commands
from ggufactory.cli.inspect import add_inspect_command
from ggufactory.cli.job_flags import add_cluster_flags, add_job_flags, add_release_flags, job_spec
from ggufactory.cli.metrics_flags import add_metrics_flags, exports_of
from ggufactory.cli.publish import add_publish_command
from ggufactory.cli.status import add_status_command
from ggufactory.cli.submit import add_submit_command
from ggufactory.cli.sync import add_sync_command
from ggufactory.errors import GgufactoryError, InputError, LeaseHeldError
from ggufactory.job import ladder_job
from ggufactory.job.job_spec import JobSpec
from ggufactory.observe import tables
from ggufactory.observe.console import stdout_console
from ggufactory.observe.job_meter import JobMeter
from ggufactory.observe.job_watcher import job_watcher
from ggufactory.observe.quality_table import print_quality
from ggufactory.plan.summary import as_json
from ggufactory.publish.signing import Verifier
from ggufactory.publish.verify import verify
from ggufactory.storage import open_store


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code as `ggufactory --help` lists them."""
    options = _parser().parse_args(arguments)
    interrupts.install(getattr(options, "grace", 0.0))
    try:
        return int(options.command(options))
    except GgufactoryError as error:
        print(f"ggufactory: {error}", file=sys.stderr)
        return error.exit_code
    except interrupts.StoppedError as stopped:
        print(f"ggufactory: stopped by {stopped}; the same command resumes", file=sys.stderr)
        return stopped.exit_code
    except BrokenPipeError:
        # Whoever read our output has enough of it (`| head`); nothing is wrong.
        sys.stderr.close()
        return 0


def _quantize(options: argparse.Namespace) -> int:
    return _run_job("quantize", options, ladder_job.run)


def _republish_header(options: argparse.Namespace) -> int:
    return _run_job("republish-header", options, ladder_job.republish_headers)


def _run_job(
    name: str, options: argparse.Namespace, run: Callable[[JobSpec, ladder_job.Watcher], ladder_job.Result]
) -> int:
    spec = job_spec(options)
    with ExitStack() as lease:
        if options.if_locked:
            try:
                lease.enter_context(leased(open_store(spec.require_target()), spec.source))
            except LeaseHeldError as held:
                if options.if_locked == "fail":
                    raise
                print(f"ggufactory: skipped: {held.message}", file=sys.stderr)
                return 0
        with (
            exports_of(options) as exports,
            job_watcher() as shown,
            exports.run(name, spec.model, shown.warn) as measured,
            JobMeter(shown, measured, exports.sinks) as meter,
        ):
            result = run(spec, meter)
    tables.print_result(stdout_console(), spec.require_target(), result, shown.tally)
    if result.evaluated is not None:
        print_quality(stdout_console(), result.evaluated)
    return 0


def _plan(options: argparse.Namespace) -> int:
    spec = job_spec(options)
    plan = ladder_job.make_plan(spec, open_store(spec.to) if spec.to else None)
    if options.json:
        print(json.dumps(as_json(plan), indent=1))
    else:
        tables.print_plan(stdout_console(), plan)
    return 0


def _verify(options: argparse.Namespace) -> int:
    console = stdout_console()
    key = Verifier.load(options.public_key) if options.public_key else None
    verdicts = verify(open_store(options.target), key, lambda verdict: tables.print_verdict(console, verdict))
    artifacts = [v for v in verdicts if v.rung]
    if faults := sum(bool(v.fault) for v in artifacts):
        raise InputError(
            f"{options.target}: {faults} of {len(artifacts)} artifacts are not what was made",
            fix="Delete them and start the job again: it makes only what is missing",
        )
    if wrong := [v.file for v in verdicts if v.fault]:
        raise InputError(
            f"{options.target}: {', '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} not what belongs there",
            fix="If you trust the target, make what lies beside the artifacts anew: ggufactory card TARGET",
        )
    return 0


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("ggufactory", description=ABOUT, epilog=EXIT_CODES, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"ggufactory {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    for name, short, long, command in (
        ("quantize", "make the files of a ladder", QUANTIZE, _quantize),
        ("republish-header", "make the metadata of split files anew", REPUBLISH, _republish_header),
    ):
        runs = commands.add_parser(name, help=short, description=long, epilog=EXIT_CODES, formatter_class=raw)
        add_job_flags(runs)
        add_cluster_flags(runs)
        add_release_flags(runs)
        add_metrics_flags(runs)
        runs.set_defaults(command=command)

    plan = commands.add_parser(
        "plan", help="say what quantize would do", description=PLAN, epilog=EXIT_CODES, formatter_class=raw
    )
    add_job_flags(plan)
    plan.add_argument("--json", action="store_true", help="print the whole plan as JSON")
    plan.set_defaults(command=_plan)

    check = commands.add_parser(
        "verify", help="read a target back", description=VERIFY, epilog=EXIT_CODES, formatter_class=raw
    )
    check.add_argument("target", metavar="TARGET", help="a folder, s3://bucket/prefix or hf://org/name")
    check.add_argument("--public-key", metavar="KEY", help="minisign's public key, a file or itself: check signatures")
    check.set_defaults(command=_verify)

    add_inspect_command(commands)
    add_card_command(commands)
    add_publish_command(commands)
    add_fetch_command(commands)
    add_sync_command(commands)
    add_status_command(commands)
    add_gc_command(commands)
    add_calibrate_command(commands)
    add_imatrix_commands(commands)
    add_submit_command(commands)
    add_evaluate_command(commands)
    add_choose_command(commands)
    return parser
