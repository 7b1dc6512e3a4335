"""What a target holds and what is on its way, for people and as JSON."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from rich.console import Console

from ggufactory.job.target_status import JobStatus, TargetStatus
from ggufactory.observe.numbers import counted, show_bytes, show_seconds
from ggufactory.observe.tables import plain_table

_PARKED_SHOWN = 10


def status_json(status: TargetStatus) -> dict[str, Any]:
    """One object; times in seconds of Unix time, null where something is not known."""
    jobs = [
        {
            **asdict(job),
            "bytes": job.bytes,
            "bytes_done": job.bytes_done,
            "parts": job.parts,
            "parts_done": job.parts_done,
            "eta_seconds": job.eta_seconds,
        }
        for job in status.jobs
    ]
    return {**asdict(status), "jobs": jobs}


def print_status(console: Console, status: TargetStatus) -> None:
    """The lease, a table for each unfinished job, and one of what is finished."""

    def line(text: str) -> None:
        console.print(text, soft_wrap=True)

    if status.lease and status.leased:
        line(f"{status.target}: leased by {status.lease.owner}")
    elif status.lease:
        line(f"{status.target}: leased by {status.lease.owner}, which is gone; the next run takes the lease over")
    for job in status.jobs:
        line(_headline(job))
        table = plain_table("rung", "file", "parts>", "of>", "stored>", "size>", "")
        for file in job.files:
            state = "finished" if file.finished else ""
            done, size = show_bytes(file.bytes_done), show_bytes(file.bytes)
            table.add_row(file.rung, file.name, str(file.parts_done), str(file.parts or "?"), done, size, state)
        console.print(table)
        for span, why in list(job.parked.items())[:_PARKED_SHOWN]:
            line(f"parked: {span}: {why}")
        if len(job.parked) > _PARKED_SHOWN:
            line(f"parked: and {len(job.parked) - _PARKED_SHOWN} more")
    if status.artifacts:
        table = plain_table("rung", "artifact", "size>", "made at")
        for made in status.artifacts:
            table.add_row(made.rung, made.file, show_bytes(made.bytes), made.made_at)
        console.print(table)
    line(
        f"{status.target}: {counted(len(status.artifacts), 'artifact')}, {counted(len(status.jobs), 'unfinished job')}"
    )


def _headline(job: JobStatus) -> str:
    share = f" ({100 * job.bytes_done / job.bytes:.0f} %)" if job.bytes else ""
    rate = f"{show_bytes(job.bytes_per_second)}/s" if job.bytes_per_second else "pace unknown"
    left = show_seconds(job.eta_seconds) if job.eta_seconds is not None else "unknown"
    last = f", last part {_ago(job.last_part)}" if job.last_part is not None else ""
    return (
        f"{job.name or 'a job'} from {job.source or 'a source that its state does not name'}, plan "
        f"{job.fingerprint[:12]}: {job.parts_done} of {job.parts or '?'} parts, {show_bytes(job.bytes_done)} of "
        f"{show_bytes(job.bytes)}{share}, {rate}, time left {left}{last}"
    )


def _ago(at: float) -> str:
    seconds = time.time() - at
    return f"{show_seconds(seconds)} ago" if seconds >= 0 else f"in {show_seconds(-seconds)}"
