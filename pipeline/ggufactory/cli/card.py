"""`ggufactory card`: the model card and what else lies beside the artifacts, made anew from the manifest."""

from __future__ import annotations

import argparse
import sys

from ggufactory.cli.help_format import HelpFormatter
from ggufactory.cli.help_texts import CARD, EXIT_CODES
from ggufactory.publish import manifest
from ggufactory.publish.header import read_header
from ggufactory.publish.release import release
from ggufactory.publish.signing import Signer
from ggufactory.storage import open_store


def add_card_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "card",
        help="make a target's model card and checksums anew",
        description=CARD,
        epilog=EXIT_CODES,
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument
    add("target", metavar="TARGET", help="a folder or s3://bucket/prefix with a manifest.json")
    add("--header", metavar="FILE", help="Markdown that the card begins with, with front matter or without")
    add("--sign-key", metavar="FILE", help="minisign's secret key, to sign the manifest and SHA256SUMS with")
    parser.set_defaults(command=_card)


def _card(options: argparse.Namespace) -> int:
    store = open_store(options.target)
    signer = Signer.load(options.sign_key) if options.sign_key else None
    header = read_header(options.header) if options.header else None
    manifest.require(store)
    # Also without a header: files that are gone leave the manifest, and its format becomes the current one.
    manifest.merge(store, {}, header)
    beside = release(store, signer, lambda message: print(f"warning: {message}", file=sys.stderr))
    print(f"{options.target}: {', '.join(beside)} {'and their signatures ' if signer else ''}are in line")
    return 0
