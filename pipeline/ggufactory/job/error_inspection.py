"""What `ggufactory inspect --errors` looks at: what each rung of a target loses, by its manifest."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from statistics import median

from ggufactory.checkpoint.gguf_names import SUFFIX
from ggufactory.errors import InputError
from ggufactory.publish import manifest, recipe
from ggufactory.publish.rungs import MadeRung, rungs_of_model
from ggufactory.storage import open_store


@dataclass(frozen=True, slots=True)
class TensorError:
    """`error`: relative, weighted by the importance matrix where the job had one (docs/quality.md)."""

    tensor: str
    type: str
    error: float


@dataclass(frozen=True, slots=True)
class RungErrors:
    """One rung. `tensors`: those that were measured, the worst first."""

    rung: str
    bytes: int
    bits_per_weight: float
    tensors: tuple[TensorError, ...]

    @property
    def median(self) -> float | None:
        """Of the tensors, to four digits; None where none was measured."""
        return float(f"{median(t.error for t in self.tensors):.4g}") if self.tensors else None


def read_errors(target: str, ladder: Collection[str] = (), name: str | None = None) -> list[RungErrors]:
    """Of the rungs of one model, the largest first; of these in `ladder` alone, if any are given.

    InputError for a target without a manifest, a rung that is not there, and where nothing was measured at all.
    """
    if target.endswith(SUFFIX):
        raise InputError(
            f"{target} is one file: --errors reads the manifest.json beside it", fix="Give the folder that it lies in"
        )
    store = open_store(target)
    made = rungs_of_model(manifest.require(store).entries.values(), name, store.uri)
    if missing := [rung for rung in ladder if rung not in {m.rung for m in made}]:
        raise InputError(f"{store.uri} has no {', '.join(missing)}; it has {', '.join(m.rung for m in made)}")
    found = [_of_rung(rung, store.uri) for rung in made if not ladder or rung.rung in ladder]
    if not any(rung.tensors for rung in found):
        raise InputError(
            f"{store.uri}: its manifest tells no errors of {', '.join(rung.rung for rung in found)}",
            fix="Earlier releases did not measure them, and what is copied has none: files that are deleted and made "
            "again by the same command have them",
        )
    return found


def _of_rung(rung: MadeRung, where: str) -> RungErrors:
    tensors = []
    for entry in rung.files:
        try:
            types = recipe.expand(entry.get("recipe", {}))
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{where}: manifest.json: {entry['file']}: its recipe cannot be read: {error}") from error
        tensors += [TensorError(name, types.get(name, ""), value) for name, value in entry.get("errors", {}).items()]
    worst_first = sorted(tensors, key=lambda tensor: (-tensor.error, tensor.tensor))
    return RungErrors(rung.rung, rung.bytes, rung.bits_per_weight, tuple(worst_first))
