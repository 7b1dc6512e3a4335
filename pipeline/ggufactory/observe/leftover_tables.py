"""What `gc` found, for people and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console

from ggufactory.job.leftovers import Leftovers
from ggufactory.observe.numbers import counted, show_bytes
from ggufactory.observe.tables import plain_table

_HOUR = 3600.0
_DAY = 24 * _HOUR


def leftovers_json(target: str, found: Leftovers, deleted: bool) -> dict[str, Any]:
    """One object; `last_used` in seconds of Unix time."""
    return {"target": target, "deleted": deleted, **asdict(found)}


def print_leftovers(console: Console, target: str, found: Leftovers, now: float, deleted: bool) -> None:
    """A row for each thing that is stale, and one line for what is not."""
    table = plain_table("kind", "name", "unused for>", "parts>", "stored>")
    for item in found.stale:
        size = show_bytes(item.bytes) if item.kind != "state" else ""
        parts = str(item.parts) if item.kind == "upload" else ""
        table.add_row(item.kind, item.name, _age(now - item.last_used), parts, size)
    if found.stale:
        console.print(table)
    freed = show_bytes(sum(item.bytes for item in found.stale))
    done = "deleted" if deleted else "to delete, with --delete"
    kept = f"; {len(found.recent)} younger left alone" if found.recent else ""
    told = f"{counted(len(found.stale), 'leftover')}, {freed}, {done}" if found.stale else "nothing is stale"
    console.print(f"{target}: {told}{kept}", soft_wrap=True)
    if found.holder:
        console.print(f"{found.holder.owner} holds the lease", soft_wrap=True)


def _age(seconds: float) -> str:
    return f"{seconds / _DAY:.1f} d" if seconds >= _DAY else f"{seconds / _HOUR:.1f} h"
