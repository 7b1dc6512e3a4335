"""What each rung uses of the importance matrix, and whether it fits: asked before a weight is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ggufactory.architectures.model import OutputTensor
from ggufactory.calibrate.coverage import count_experts
from ggufactory.calibrate.imatrix import ImportanceMatrix
from ggufactory.calibrate.record import CalibrationRecord
from ggufactory.plan.conversion import changed
from ggufactory.plan.ladder import Rung
from ggufactory.plan.recipe import Decision
from ggufactory.plan.roles import Category, category
from ggufactory_kernels.types import TENSOR_TYPES

_NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class UsedImportance:
    """What a rung's options leave of a matrix. `before`: tensor name -> name of its entry."""

    matrix: ImportanceMatrix
    entries: frozenset[str]
    before: Mapping[str, str]

    def covers(self, tensor: str) -> bool:
        """Whether this tensor's errors are weighed."""
        return self.before[tensor] in self.entries


def used_by(rung: Rung, matrix: ImportanceMatrix | None, before: Mapping[str, str]) -> UsedImportance | None:
    """None when there is no matrix, or nothing is left of it: the reference then knows of none either."""
    if matrix is None:
        return None
    entries = frozenset(entry for entry in matrix.entries if rung.options.weighs(entry))
    return UsedImportance(matrix, entries, before) if entries else None


def misfits(tensors: Sequence[OutputTensor], matrix: ImportanceMatrix, before: Mapping[str, str]) -> list[str]:
    """One fault for all entries of a wrong size."""
    found = [fault for t in tensors if (fault := _misfit(t, matrix, before[t.name]))]
    if not found:
        return []
    return [f"importance matrix {matrix.file} is of another model: {len(found)} tensors do not fit: {shown(found)}"]


def faults(
    rung: Rung, tensors: Sequence[OutputTensor], decisions: Mapping[str, Decision], used: UsedImportance | None
) -> list[str]:
    """Tensors of the rung that lack importance which they need, or would use. What is copied uses none."""
    if used is None:
        needing = [name for name, d in decisions.items() if d.needs_importance]
        told = "needs an importance matrix (--imatrix) for"
        return [f"rung {rung.name} {told} {len(needing)} tensors: {shown(needing)}"] if needing else []
    missing = [
        name
        for name, decision in ((t.name, decisions[t.name]) for t in changed(tensors, [decisions]))
        if TENSOR_TYPES[decision.type].uses_importance
        and not used.covers(name)
        and (decision.needs_importance or _should_be_covered(used.before[name], rung))
    ]
    if not missing:
        return []
    told = f"importance matrix {used.matrix.file} has no entry for {len(missing)} tensors that would use one"
    return [f"rung {rung.name}: {told}: {shown(sorted(missing))}"]


def notes(matrix: ImportanceMatrix, before: Mapping[str, str]) -> list[str]:
    """What is no fault and yet worth telling: entries nobody uses, experts that saw no token."""
    told = [matrix.promise] if matrix.promise else []
    if not matrix.promise and (unknown := sorted(set(matrix.entries) - set(before.values()))):
        told.append(f"{matrix.file}: {len(unknown)} entries name no tensor of this model: {shown(unknown)}")
    never_run = matrix.record.unreached if matrix.record else {}
    unseen = {name: experts for name, experts in matrix.unseen.items() if name not in never_run}
    if unseen:
        experts = sum(len(found) for found in unseen.values())
        told.append(
            f"{matrix.file}: {experts} experts of {len(unseen)} tensors saw no token; "
            "they are quantized as if all their columns mattered alike"
        )
    return told + (_notes_of(matrix.record, matrix.file) if matrix.record else [])


def _notes_of(record: CalibrationRecord, file: str) -> list[str]:
    """What the coverage policy of a calibration did."""
    told = []
    if record.thin and record.coverage.policy == "prior":
        told.append(
            f"{file}: {count_experts(record.thin)} saw fewer than {record.coverage.tokens} tokens; "
            "the other experts' activations stand in for what they lack"
        )
    for stand_in, meaning in (
        ("ones", "they are quantized as if all their columns mattered alike"),
        ("prior", "the activations of the last layer that ran stand in for theirs"),
    ):
        names = sorted(name for name, what in record.unreached.items() if what == stand_in)
        if names:
            told.append(f"{file}: {len(names)} tensors are of layers that never ran; {meaning}: {shown(names)}")
    return told


def shown(names: Sequence[str]) -> str:
    """The first few of a list of names, and how many more there are."""
    more = len(names) - _NAMES_SHOWN
    return "; ".join(names[:_NAMES_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _misfit(tensor: OutputTensor, matrix: ImportanceMatrix, name: str) -> str:
    entry = matrix.entries.get(name)
    matrices = tensor.rows // tensor.rows_per_matrix
    if entry is None or entry.size == matrices * tensor.columns:
        return ""
    return f"{name} wants {matrices} x {tensor.columns} values, found {' x '.join(map(str, entry.shape))}"


def _should_be_covered(name: str, rung: Rung) -> bool:
    """The reference never collects activations of the embeddings, of the output only on request; and what
    an option leaves out is left out on purpose."""
    return category(name) not in (Category.OUTPUT, Category.TOKEN_EMBD) and rung.options.weighs(name)
