"""A target as `ggufactory choose` looks at it: one model's rungs, what was measured, what a context takes."""

from __future__ import annotations

from dataclasses import dataclass

from ggufactory.checkpoint.gguf_checkpoint import read_header
from ggufactory.choice.hyperparameters import Hyperparameters, of_metadata
from ggufactory.errors import InputError
from ggufactory.publish.manifest import require
from ggufactory.publish.measured import MeasuredModel, models_of
from ggufactory.storage import open_store
from ggufactory.storage.protocol import Store


@dataclass(frozen=True, slots=True)
class MeasuredTarget:
    """One model of a target."""

    model: MeasuredModel
    hyperparameters: Hyperparameters

    def first_file(self, rung: str) -> str:
        """The file that llama.cpp is given."""
        return self.files(rung)[0]

    def files(self, rung: str) -> list[str]:
        """In the order of a split."""
        return next([e["file"] for e in found.made.files] for found in self.model.rungs if found.made.rung == rung)

    @property
    def not_comparable(self) -> list[str]:
        """Rungs without a divergence that can be compared, where others have one."""
        found = self.model.candidates()
        missing = [rung.name for rung in found if rung.divergence is None]
        return missing if len(missing) < len(found) else []


def read_target(uri: str, name: str | None) -> MeasuredTarget:
    """InputError for a target without a manifest or rungs, with several models of which `name` chooses none, and for
    files whose headers do not tell what a context takes."""
    store = open_store(uri)
    models = models_of(require(store).entries)
    found = [model for model in models if name is None or model.name == name]
    if not found:
        raise InputError(f"{uri} has no rungs of {name}" if name else f"{uri} has no rungs")
    if len(found) > 1:
        names = ", ".join(model.name for model in found)
        raise InputError(f"{uri} has rungs of {len(found)} models: {names}", fix="Choose one with --name")
    return MeasuredTarget(found[0], found[0].hyperparameters or _of_header(store, found[0]))


def _of_header(store: Store, model: MeasuredModel) -> Hyperparameters:
    """Manifests of earlier releases do not have them."""
    name = model.rungs[0].made.first
    info = store.stat(name)
    if info is None:
        raise InputError(f"{store.uri}/{name} is in the manifest, but is missing", fix="Make it again with its job")
    found = of_metadata(read_header(store, info).metadata)
    if found is None:
        raise InputError(f"{store.uri}/{name}: its header does not say what a context takes: layers, width and heads")
    return found
