"""Whether the importance matrix fits the model and the ladder: asked before a weight is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ggufactory.architectures.model import OutputTensor
from ggufactory.calibrate.imatrix import ImportanceMatrix
from ggufactory.plan.ftypes import FileType
from ggufactory.plan.recipe import Category, Decision, category
from ggufactory_kernels.types import TENSOR_TYPES

_NAMES_SHOWN = 5

Decided = Sequence[tuple[FileType, Mapping[str, Decision]]]


def faults(tensors: Sequence[OutputTensor], decided: Decided, matrix: ImportanceMatrix | None) -> list[str]:
    """Every reason why `matrix` (or having none) does not serve the decisions."""
    if matrix is None:
        return _required(decided)
    found = []
    wrong = [_misfit(t, matrix) for t in tensors]
    if misfits := [fault for fault in wrong if fault]:
        found.append(
            f"importance matrix {matrix.file} is of another model: {len(misfits)} tensors do not fit: " + shown(misfits)
        )
    stored = {t.name: t.converted_type for t in tensors}
    used = {
        name
        for _, decisions in decided
        for name, d in decisions.items()
        if d.type != stored[name] and TENSOR_TYPES[d.type].uses_importance
    }
    missing = sorted(name for name in used if name not in matrix.entries and _is_covered(name))
    if missing:
        found.append(
            f"importance matrix {matrix.file} has no entry for {len(missing)} tensors that would use one: "
            + shown(missing)
        )
    return found


def notes(tensors: Sequence[OutputTensor], matrix: ImportanceMatrix | None) -> list[str]:
    """What is no fault and yet worth telling: entries nobody uses, experts that saw no token."""
    if matrix is None:
        return []
    told = []
    names = {t.name for t in tensors}
    if unknown := sorted(set(matrix.entries) - names):
        told.append(f"{matrix.file}: {len(unknown)} entries name no tensor of this model: {shown(unknown)}")
    if matrix.unseen:
        experts = sum(len(found) for found in matrix.unseen.values())
        told.append(
            f"{matrix.file}: {experts} experts of {len(matrix.unseen)} tensors saw no token; "
            "they are quantized as if all their columns mattered alike"
        )
    return told


def _required(decided: Decided) -> list[str]:
    found = []
    for rung, decisions in decided:
        needing = [name for name, d in decisions.items() if d.needs_importance]
        if needing:
            found.append(
                f"rung {rung.name} needs an importance matrix (--imatrix) for {len(needing)} tensors: {shown(needing)}"
            )
    return found


def _misfit(tensor: OutputTensor, matrix: ImportanceMatrix) -> str:
    entry = matrix.entries.get(tensor.name)
    if entry is None:
        return ""
    matrices = tensor.rows // tensor.rows_per_matrix
    if entry.size == matrices * tensor.columns:
        return ""
    return f"{tensor.name} wants {matrices} x {tensor.columns} values, found {' x '.join(map(str, entry.shape))}"


def _is_covered(name: str) -> bool:
    """The reference never collects activations of the embeddings, and of the output only on request."""
    return category(name) not in (Category.OUTPUT, Category.TOKEN_EMBD)


def shown(names: Sequence[str]) -> str:
    """The first few of a list of names, and how many more there are."""
    more = len(names) - _NAMES_SHOWN
    return "; ".join(names[:_NAMES_SHOWN]) + (f"; and {more} more" if more > 0 else "")
