"""What is kept of a share of the chunks while it goes through the layers: small objects in the folder of the result.

    hidden-LLLL/GGGGG   what the layer gave, of each group of chunks
    sums-LLLL           the sums of the layer's inputs; written when all of its groups are there

Layers are counted from 1, and the head is one more. A run that ended anywhere goes on after the last layer whose
sums are there. The hidden states of a layer are removed when the next one is finished.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from ggufactory.calibrate.activations import Sums
from ggufactory.calibrate.array_format import Arrays, decode_arrays, encode_arrays
from ggufactory.calibrate.collected import Collected
from ggufactory.calibrate.hidden_states import as_bytes
from ggufactory.errors import InputError
from ggufactory.storage import Store, open_store

MAX_OBJECT_BYTES = 8 << 30


class StateRemovedError(InputError):
    """Somebody has removed what was there a moment ago."""


@dataclass(frozen=True)
class ShareState:
    """`uri`: of the store; `folder`: in it. May be sent to another process."""

    uri: str
    folder: str
    _store: Store = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_store", open_store(self.uri))

    def finished(self, layers: int, groups: int) -> int:
        """Layers that need not be run again; `layers` + 1 when the head is done, too."""
        names = {info.name.removeprefix(f"{self.folder}/") for info in self._store.list(f"{self.folder}/")}
        count = 0
        while _sums(count + 1) in names:
            count += 1
        if count > layers:
            return count
        # The states of a layer are removed after the sums of the next one are there, so a run that was killed in
        # between has both; one that has the sums of a layer has its states.
        return count if all(_hidden(count, group) in names for group in range(groups)) else 0

    def resume(self, layers: int, groups: int, fill: Callable[[int], None]) -> int:
        """What `finished` says, once `fill` has read that layer's states.

        Workers of a run that was killed may live on for seconds, finish another layer, and remove what is being read:
        then `fill` is called again, for that one.
        """
        while True:
            finished = self.finished(layers, groups)
            try:
                fill(finished)
            except StateRemovedError:
                if self.finished(layers, groups) <= finished:
                    raise
            else:
                return finished

    def collected(self, finished: int) -> Collected:
        """Of the first so many layers."""
        found = Collected()
        for layer in range(1, finished + 1):
            found.add(_as_collected(self._read(_sums(layer))))
        return found

    def states(self, layer: int, group: int, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """What `keep` was given. InputError for another shape."""
        name = _hidden(layer, group)
        states = self._read(name).get("states")
        wanted = (*shape[:-1], shape[-1] * dtype.itemsize)
        if states is None or states.shape != wanted:
            raise InputError(f"{self.uri}/{self.folder}/{name} is of another calibration")
        return torch.from_numpy(states.copy()).view(dtype)

    def keep(self, layer: int, group: int, states: torch.Tensor) -> None:
        self._write(_hidden(layer, group), {"states": as_bytes(states)})

    def finish(self, layer: int, groups: int, sums: Collected) -> None:
        """All groups of the layer were kept."""
        self._write(_sums(layer), _as_arrays(sums))
        for group in range(groups if layer > 1 else 0):
            self._store.delete(f"{self.folder}/{_hidden(layer - 1, group)}")

    def result(self, name: str) -> Arrays | None:
        """What `keep_result` was given."""
        return self._read(name) if self._store.stat(f"{self.folder}/{name}") else None

    def keep_result(self, name: str, arrays: Arrays) -> None:
        """What came of the share in the end."""
        self._write(name, arrays)

    def part(self, name: str) -> ShareState:
        """Of one of several models that go through the layers side by side."""
        return ShareState(self.uri, f"{self.folder}/{name}")

    def _read(self, name: str) -> Arrays:
        where = f"{self.folder}/{name}"
        found = self._store.read(where, limit=MAX_OBJECT_BYTES)
        if found is None:
            raise StateRemovedError(f"{self.uri}/{where} was removed", fix="Start again")
        return decode_arrays(found[0], f"{self.uri}/{where}")

    def _write(self, name: str, arrays: Arrays) -> None:
        self._store.put(f"{self.folder}/{name}", encode_arrays(arrays))


def _sums(layer: int) -> str:
    return f"sums-{layer:04}"


def _hidden(layer: int, group: int) -> str:
    return f"hidden-{layer:04}/{group:05}"


def _as_arrays(collected: Collected) -> Arrays:
    arrays = {
        "likelihoods": np.array(collected.likelihoods, np.float64),
        "predicted": np.array([collected.predicted], np.int64),
    }
    named = [(f"parameter {name}", sums) for name, sums in collected.parameters.items()]
    named += [(f"latent {layer} {n}", sums) for layer, two in collected.latent.items() for n, sums in enumerate(two)]
    for name, sums in named:
        arrays[f"sums {name}"] = sums.sums
        arrays[f"counts {name}"] = sums.counts
    return arrays


def _as_collected(arrays: Arrays) -> Collected:
    found = Collected(likelihoods=arrays["likelihoods"].tolist(), predicted=int(arrays["predicted"][0]))
    halves: dict[int, dict[int, Sums]] = {}
    for key, array in arrays.items():
        kind, _, name = key.partition(" ")
        if kind != "sums":
            continue
        sums = Sums(array, arrays[f"counts {name}"])
        of, _, rest = name.partition(" ")
        if of == "parameter":
            found.parameters[rest] = sums
        else:
            layer, half = rest.split()
            halves.setdefault(int(layer), {})[int(half)] = sums
    found.latent = {layer: (two[0], two[1]) for layer, two in halves.items()}
    return found
