"""Dated records of measurements: what was run, on what, and what came out."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


def machine(*also: str) -> list[tuple[str, str]]:
    """The facts that a reader needs to judge the figures: no names of hosts, no paths. `also`: further packages
    whose releases matter."""
    processor = next(
        (line.split(":", 1)[1].strip() for line in _read("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    memory = next((line.split()[1] for line in _read("/proc/meminfo") if line.startswith("MemTotal")), "0")
    packages = ("numpy", "ray", "boto3", "xllamacpp", *also)
    return [
        ("processor", f"{processor}, {len(_processors())} logical"),
        ("memory", f"{int(memory) / 1e6:.0f} GB"),
        ("system", f"{platform.system()} {platform.release().split('-')[0]}, {' '.join(platform.libc_ver())}"),
        ("Python", f"{platform.python_version()}; " + ", ".join(f"{p} {version(p)}" for p in packages)),
        ("commit", _commit()),
        ("command", "python ops/benchmarks/" + " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])),
    ]


class Record:
    """A Markdown file `YYYY-MM-DD-NAME.md`."""

    def __init__(self, name: str, title: str) -> None:
        self._name = name
        self._parts = [f"# {title}"]

    def text(self, paragraph: str) -> None:
        self._parts.append(paragraph)

    def table(self, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
        self._parts.append("\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]))

    @property
    def content(self) -> str:
        return "\n\n".join(self._parts) + "\n"

    def write(self, folder: Path, facts: Sequence[tuple[str, str]]) -> None:
        """Write it, replacing one of the same day, and say where."""
        self.table(("machine", ""), facts)
        path = folder / f"{datetime.now(UTC):%Y-%m-%d}-{self._name}.md"
        path.write_text(self.content)
        print(self.content)
        print(f"written to {path}")


def _read(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _processors() -> list[str]:
    return [line for line in _read("/proc/cpuinfo") if line.startswith("processor")]


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    return done.stdout.strip() or "unknown"
