"""`ggufactory submit`: a job on a cluster, by Ray's job server."""

from __future__ import annotations

import argparse
import sys

from ggufactory import interrupts
from ggufactory.cli.help_format import HelpFormatter
from ggufactory.cli.help_texts import EXIT_CODES, SUBMIT
from ggufactory.job.submission import Submission, submit


def add_submit_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "submit",
        help="run a job on a cluster",
        description=SUBMIT,
        epilog=EXIT_CODES,
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument
    add("job", metavar="JOB.yaml", help="the job, as `ggufactory quantize --job` takes it")
    add("--address", metavar="URL", required=True, help="the cluster's job server: http://HEAD:8265")
    add("--no-wait", action="store_true", help="end when the cluster has the job; do not follow its log")
    add("--shared-paths", action="store_true", help="every node of the cluster sees this machine's paths")
    parser.set_defaults(command=_submit)


def _submit(options: argparse.Namespace) -> int:
    submission = Submission(options.job, options.address, options.shared_paths, wait=not options.no_wait)
    try:
        return submit(submission, _say, _write)
    except interrupts.StoppedError as stopped:
        # The job is the cluster's, not ours: whoever follows it may go.
        _say(f"detached by {stopped}; a job that was submitted goes on, and the same command follows it again")
        return stopped.exit_code


def _say(line: str) -> None:
    print(f"ggufactory: {line}", file=sys.stderr, flush=True)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
