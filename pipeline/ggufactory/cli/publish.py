"""`ggufactory publish`: a target to a repository of the Hugging Face hub."""

from __future__ import annotations

import argparse
import sys

from ggufactory.cli.help_format import HelpFormatter
from ggufactory.cli.help_texts import EXIT_CODES, PUBLISH
from ggufactory.errors import InputError
from ggufactory.observe.console import stdout_console
from ggufactory.observe.publication import print_publication
from ggufactory.storage import open_store

_CONNECTIONS = 4
_MOST_CONNECTIONS = 32


def add_publish_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "publish",
        help="upload a target to the Hugging Face hub",
        description=PUBLISH,
        epilog=EXIT_CODES,
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument
    add("target", metavar="TARGET", help="a folder or s3://bucket/prefix with a manifest.json")
    add("--hub", metavar="ORG/NAME", required=True, help="the repository; it is made when there is none")
    add("--private", action="store_true", help="make a private one")
    add("--yes", action="store_true", help="do it; without, it is only said what would be done")
    add("--connections", type=int, metavar="N", default=_CONNECTIONS, help="files at once (default: %(default)s)")
    parser.set_defaults(command=_publish)


def _publish(options: argparse.Namespace) -> int:
    # Here and not above: only this command needs the hub's library.
    from ggufactory.publish.hub_publication import carry_out, plan_publication
    from ggufactory.storage.hub_repository import HubRepository

    if not 1 <= options.connections <= _MOST_CONNECTIONS:
        raise InputError(f"--connections {options.connections}: wanted 1 to {_MOST_CONNECTIONS}")
    store, repository = open_store(options.target), HubRepository(options.hub)
    publication = plan_publication(store, repository)
    print_publication(stdout_console(), publication, private=options.private)
    if not publication.missing:
        print(f"Nothing to do: {repository.uri} has it all.")
        return 0
    if not options.yes:
        print("Nothing was sent. Do it with --yes.")
        return 0
    commit = carry_out(
        store,
        repository,
        publication,
        private=options.private,
        connections=options.connections,
        on_sent=lambda name: print(f"sent {name}", file=sys.stderr, flush=True),
    )
    print(f"{repository.uri}@{commit}")
    return 0
