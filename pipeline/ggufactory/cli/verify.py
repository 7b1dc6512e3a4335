"""`ggufactory verify`: a target read back and compared with its manifest."""

from __future__ import annotations

import argparse

from ggufactory.cli.help_format import HelpFormatter
from ggufactory.cli.help_texts import EXIT_CODES, VERIFY
from ggufactory.errors import InputError
from ggufactory.observe import tables
from ggufactory.observe.console import stdout_console
from ggufactory.observe.numbers import counted, show_bytes
from ggufactory.publish.signing import Verifier
from ggufactory.publish.verify import verify
from ggufactory.storage import open_store


def add_verify_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "verify", help="read a target back", description=VERIFY, epilog=EXIT_CODES, formatter_class=HelpFormatter
    )
    parser.add_argument("target", metavar="TARGET", help="a folder, s3://bucket/prefix or hf://org/name")
    parser.add_argument("--public-key", metavar="KEY", help="minisign's public key, a file or itself: check signatures")
    parser.set_defaults(command=_verify)


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
            fix="Another release wrote them, or another hand. If you trust the target: ggufactory card TARGET",
        )
    told = f"{counted(len(artifacts), 'artifact')} of {show_bytes(sum(v.bytes for v in artifacts))} read back"
    console.print(f"{options.target}: {told}, all as they were made")
    return 0
