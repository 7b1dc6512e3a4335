"""Who counts what the shares of a calibration have done. A module of its own: its process needs no PyTorch."""

from __future__ import annotations


class Steps:
    """An actor that counts what the shares have done."""

    def __init__(self, shares: int) -> None:
        self._done = [0] * shares
        self._total = [0] * shares

    def note(self, share: int, done: int, total: int) -> None:
        self._done[share], self._total[share] = done, total

    def all(self) -> tuple[int, int]:
        """Steps done, and in all once every share has begun (0 before)."""
        return sum(self._done), sum(self._total) if all(self._total) else 0
