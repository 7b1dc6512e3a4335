"""`ggufactory fetch`: a rung of a target, downloaded and checked, or links to it."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from ggufactory.cli.help_format import HelpFormatter
from ggufactory.cli.help_texts import EXIT_CODES, FETCH
from ggufactory.errors import InputError
from ggufactory.observe.fetch_progress import FetchProgress
from ggufactory.publish.fetch import fetch, find_rung
from ggufactory.publish.rungs import MadeRung
from ggufactory.publish.signing import Verifier
from ggufactory.storage import open_store
from ggufactory.storage.protocol import Store

_CONNECTIONS = 8
_MOST_CONNECTIONS = 64
_TIME = re.compile(r"(\d{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add_fetch_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "fetch",
        help="download a rung and check it",
        description=FETCH,
        epilog=EXIT_CODES,
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument
    add("target", metavar="TARGET", help="s3://bucket/prefix, hf://org/name or a folder with a manifest.json")
    add("rung", metavar="RUNG", help="such as Q4_K_M, or the name of a file")
    add("--to", metavar="FOLDER", default=".", help="where the files go (default: here)")
    add("--name", help="of the model, where the target has several")
    add("--connections", type=int, metavar="N", default=_CONNECTIONS, help="at once (default: %(default)s)")
    add(
        "--public-key", metavar="KEY", help="minisign's public key, a file or itself: the manifest must be signed by it"
    )
    add("--link", action="store_true", help="download nothing, print links that need no credentials (S3 only)")
    add("--expires", metavar="TIME", default="1h", help="how long links are good: 30m, 2h, 7d (default: %(default)s)")
    parser.set_defaults(command=_fetch)


def _fetch(options: argparse.Namespace) -> int:
    if not 1 <= options.connections <= _MOST_CONNECTIONS:
        raise InputError(f"--connections {options.connections}: wanted 1 to {_MOST_CONNECTIONS}")
    store = open_store(options.target)
    key = Verifier.load(options.public_key) if options.public_key else None
    seconds = _parse_time(options.expires)
    rung = find_rung(store, options.rung, options.name, key)
    if options.link:
        return _print_links(store, rung, seconds)
    with FetchProgress() as progress:
        fetched = fetch(store, rung, Path(options.to), connections=options.connections, watcher=progress)
    for path in fetched.files:
        print(path)
    return 0


def _print_links(store: Store, rung: MadeRung, seconds: int) -> int:
    if not store.uri.startswith("s3://"):
        raise InputError(f"{store.uri}: links are made for targets on S3 only", fix="Give s3://bucket/prefix")
    # Here and not above: boto3 takes a second to import.
    from ggufactory.storage.s3_links import presigned_link

    for entry in rung.files:
        print(presigned_link(store, entry["file"], seconds))
    return 0


def _parse_time(text: str) -> int:
    """Seconds."""
    found = _TIME.fullmatch(text.strip())
    if not found:
        raise InputError(f"--expires {text!r}: wanted a number and s, m, h or d, such as 2h")
    return int(found[1]) * _SECONDS[found[2]]
