"""What publishing to the hub would do, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from ggufactory.observe.numbers import show_bytes
from ggufactory.observe.tables import plain_table

if TYPE_CHECKING:  # only the command itself needs the hub's library
    from ggufactory.publish.hub_publication import Publication


def print_publication(console: Console, publication: Publication, *, private: bool) -> None:
    """A row for each file, then what is to be sent."""
    table = plain_table("file", "size>", "")
    for file in publication.files:
        table.add_row(file.name, show_bytes(file.size), "there" if file.there else "to send")
    console.print(table)
    made = "" if publication.exists else f", to be made{' (private)' if private else ''}"
    to_send = show_bytes(sum(file.size for file in publication.missing))
    console.print(
        f"{publication.repository}{made}: {len(publication.missing)} of {len(publication.files)} files, {to_send}",
    )
