"""The weights of a model outside of its layers (embeddings, last norm, head): each in memory while it is needed.

A module gets its weights when the model's code calls it, so that embeddings and head are each read once, and by the
process alone that runs them. (Embeddings that are the head, too, are needed at both ends, and read twice.)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ggufactory.errors import InputError


class OutsideLayers:
    """`layers`: the name of the list of layers; `targets`: of each tensor of the checkpoint, the parameter that it
    becomes; `load`: puts tensors into the model, by their names in the checkpoint.

    InputError where the checkpoint lacks one.
    """

    def __init__(
        self, model: Any, layers: str, targets: Mapping[str, str], load: Callable[[Sequence[str]], None]
    ) -> None:
        self._model = model
        self._targets = targets
        self._load = load
        self._modules = {
            name: module
            for name, module in model.named_modules()
            if not f"{name}.".startswith(f"{layers}.") and any(True for _ in module.parameters(recurse=False))
        }
        self._around = {name for name in self._modules if f"{layers}.".startswith(f"{name}.") or not name}
        """Those that hold the layers: their own weights may be used anywhere."""
        check_names([p for name in self._modules for p in self._parameters(name) if not self._names([p])])

    @contextmanager
    def filled(self, are_needed: Callable[[], bool]) -> Iterator[None]:
        """Inside, a module has its weights as soon as it is called; or, where at that time `are_needed` is false,
        zeros that take no memory: for a forward of which only the shapes count."""
        lock = threading.Lock()
        read: set[str] = set()
        blank: set[str] = set()

        def fill(name: str) -> Callable[[nn.Module, Any], None]:
            def before_forward(module: nn.Module, _: Any) -> None:
                with lock, torch.inference_mode(False):
                    if name not in read and are_needed():
                        self._read(name)
                        read.add(name)
                    elif name not in read | blank:
                        _replace(module, lambda p: torch.zeros((), dtype=p.dtype).expand(p.shape))
                        blank.add(name)

            return before_forward

        handles = [module.register_forward_pre_hook(fill(name)) for name, module in self._modules.items()]
        if are_needed():
            for name in self._around:
                self._read(name)
                read.add(name)
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            for module in self._modules.values():
                _replace(module, lambda p: torch.empty_like(p, device="meta"))

    def _read(self, name: str) -> None:
        parameters = self._parameters(name)
        self._load(self._names(parameters))
        if any(parameter in self._tied() for parameter in parameters):
            self._model.tie_weights()
        assert not any(p.is_meta for p in self._modules[name].parameters(recurse=False)), name

    def _parameters(self, name: str) -> list[str]:
        prefix = f"{name}." if name else ""
        return [prefix + key for key, _ in self._modules[name].named_parameters(recurse=False)]

    def _names(self, parameters: Sequence[str]) -> list[str]:
        """Of the tensors that they are made of."""
        wanted = set()
        for parameter in parameters:
            source = self._tied().get(parameter, parameter)
            same = [source, *(target for target, of in self._tied().items() if of == source)]
            wanted |= set([p for p in same if p in self._targets.values()][:1])
        return [name for name, target in self._targets.items() if target in wanted]

    def _tied(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self._model.all_tied_weights_keys
        return found


def check_names(missing: Sequence[str]) -> None:
    """InputError if there are any."""
    if missing:
        raise InputError(
            f"transformers' model has {len(missing)} tensors that the checkpoint has not, or not by names that it "
            f"knows: {', '.join(missing[:5])}",
            fix="Make the importance matrix with llama-imatrix, and give it with --imatrix",
        )


def _replace(module: nn.Module, by: Callable[[nn.Parameter], torch.Tensor]) -> None:
    for name, parameter in list(module.named_parameters(recurse=False)):
        setattr(module, name, nn.Parameter(by(parameter), requires_grad=False))
