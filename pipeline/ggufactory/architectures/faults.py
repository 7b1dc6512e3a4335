"""Gathering everything that is wrong with a checkpoint, so that it can be told at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ggufactory.errors import InputError, PlanError


class Faults:
    """The faults found so far."""

    def __init__(self) -> None:
        self._messages: list[str] = []

    def add(self, message: str) -> None:
        self._messages.append(message)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Note the InputError that ends the block, and go on after it."""
        try:
            yield
        except PlanError as error:
            self._messages.extend(error.faults)
            if error.fix:
                self._messages[-1] += f". {error.fix}"
        except InputError as error:
            self._messages.append(str(error))

    def raise_any(self) -> None:
        if self._messages:
            raise PlanError(self._messages)


def listed(names: list[str], most: int = 100) -> str:
    """Names in a message, in ASCII: all of them, unless a hostile file holds thousands."""
    shown = ", ".join(ascii(name)[1:-1] for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"
