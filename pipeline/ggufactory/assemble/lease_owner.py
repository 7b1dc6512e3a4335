"""Who holds a lease: enough for people to find the run, and for a run on the same machine to see that
it is gone."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path

_START_TIME = 19
"""Of the fields of /proc/PID/stat behind the command's name: when the process began, in ticks since boot."""


@dataclass(frozen=True, slots=True)
class Owner:
    """One run. `process` is empty where the system does not tell what it takes."""

    run: str
    """Unique."""
    job: str
    """What it works on, for people."""
    host: str
    pid: int
    process: str
    """Boot, namespace of process ids, process id and its start time: no other process ever has the same."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} ({self.job})"


def this_run(job: str) -> Owner:
    return Owner(uuid.uuid4().hex, job, socket.gethostname(), os.getpid(), _identify(os.getpid()))


def is_gone(owner: Owner) -> bool:
    """True only when `owner` ran on this very system, in our namespace of process ids, and has ended.

    False is no proof of life: of another machine or container, nothing can be known.
    """
    here = _identify(os.getpid())
    same_system = bool(owner.process) and owner.process.split("/")[:2] == here.split("/")[:2]
    return same_system and _identify(owner.pid) != owner.process


def _identify(pid: int) -> str:
    """Empty when there is no such process, or no /proc; a process that has ended and was not waited for is none."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = Path("/proc/self/ns/pid").readlink().name
        # The command's name, in parentheses, may hold anything; the last one ends it.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else f"{boot}/{namespace}/{pid}/{fields[_START_TIME]}"
