"""What stands in the place of a model's layers while the rest of its code runs: it records how the model calls them,
or gives what they would have given."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True, slots=True)
class LayerCall:
    """What the model hands to one of its layers beside the hidden states."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(slots=True)
class Recorded:
    """By layer: the hidden states that it was given, and what else."""

    given: list[torch.Tensor] = field(default_factory=list)
    calls: list[LayerCall] = field(default_factory=list)


class _RecordedError(BaseException):
    """Ends the model's forward once its last layer was reached."""


class StandIns:
    def __init__(self, layers: nn.ModuleList) -> None:
        self._layers = layers
        self.in_tuples = False
        """Whether the model takes what its layers give out of a tuple."""
        self._of_thread = threading.local()

    @contextmanager
    def recording(self, recorded: Recorded) -> Iterator[None]:
        """Inside, the model's forward ends where it calls its last layer, and leaves the block."""

        def forward(number: int, hidden: torch.Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
            recorded.given.append(hidden)
            recorded.calls.append(LayerCall(args, kwargs))
            if number == len(self._layers) - 1:
                raise _RecordedError
            return hidden

        with self._in_place(forward):
            try:
                yield
            except _RecordedError:
                return

    @contextmanager
    def giving(self) -> Iterator[None]:
        """Inside, the layers give what `gives` says, of any thread its own."""

        def forward(number: int, hidden: torch.Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
            self._of_thread.reached = True
            output: torch.Tensor = self._of_thread.output
            return output

        with self._in_place(forward):
            yield

    @contextmanager
    def gives(self, output: torch.Tensor) -> Iterator[None]:
        self._of_thread.output, self._of_thread.reached = output, False
        try:
            yield
        finally:
            del self._of_thread.output

    @property
    def reached(self) -> bool:
        """Whether this thread's forward has called a layer."""
        return bool(getattr(self._of_thread, "reached", False))

    @contextmanager
    def _in_place(self, forward: Any) -> Iterator[None]:
        layers, stand_ins = list(self._layers), self

        def stand_in(number: int) -> nn.Module:
            original = layers[number]

            class StandIn(nn.Module):
                def __getattr__(self, name: str) -> Any:
                    return getattr(original, name)

                def forward(self, hidden: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
                    result = forward(number, hidden, args, kwargs)
                    return (result,) if stand_ins.in_tuples else result

            return StandIn()

        for number in range(len(layers)):
            self._layers[number] = stand_in(number)
        try:
            yield
        finally:
            for number, original in enumerate(layers):
                self._layers[number] = original
