"""How quantities are shown: bytes in powers of 1000, as object stores bill and disks are sold."""

from __future__ import annotations


def show_bytes(count: float) -> str:
    """`1234567890` as "1.23 GB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.2f} {unit}"
        count /= 1000
    return f"{count:.2f} TB"


def show_seconds(seconds: float) -> str:
    """`3725` as "1:02:05", `65` as "1:05"."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def show_core_time(seconds: float) -> str:
    """`86400` as "24 core hours", `5000` as "1.4 core hours", `90` as "2 core minutes"; never less than one."""
    hours = seconds / 3600
    if hours < 1:
        minutes = max(round(seconds / 60), 1)
        return f"{minutes} core minute{'s' if minutes > 1 else ''}"
    return f"{hours:.1f} core hours" if hours < 10 else f"{hours:,.0f} core hours"
