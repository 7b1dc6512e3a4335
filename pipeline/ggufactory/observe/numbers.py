"""How quantities are shown: bytes in powers of 1000, as object stores bill and disks are sold."""

from __future__ import annotations

import math


def show_bytes(count: float) -> str:
    """`1234567890` as "1.23 GB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.2f} {unit}"
        count /= 1000
    return f"{count:.2f} TB"


def counted(count: int, noun: str) -> str:
    """`1234` and "part" as "1,234 parts", `1` as "1 part"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def show_seconds(seconds: float) -> str:
    """`3725` as "1:02:05", `65` as "1:05"."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def show_core_time(seconds: float) -> str:
    """`86400` as "24 core hours", `5000` as "1.4 core hours", `90` as "2 core minutes", `0.2` as "1 core second"."""
    hours = seconds / 3600
    if seconds < 60:
        return counted(max(math.ceil(seconds), 1), "core second")
    if hours < 1:
        return counted(round(seconds / 60), "core minute")
    return f"{hours:.1f} core hours" if hours < 10 else f"{hours:,.0f} core hours"
