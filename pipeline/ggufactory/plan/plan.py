"""The plan: everything that is decided before a weight is read.

Pure and deterministic: from a described checkpoint, a ladder, an importance matrix and the target's
part limits to every tensor's type on every rung, every file's header and size, every span, and the
memory a worker needs. All faults are found together. Two runs that make the same plan have the same
fingerprint, and may resume each other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from ggufactory.architectures.model import Model, OutputTensor
from ggufactory.calibrate.imatrix import ImportanceMatrix
from ggufactory.errors import InputError, PlanError
from ggufactory.plan import conversion, importance, memory
from ggufactory.plan.facts import facts_of
from ggufactory.plan.ftypes import FileType, file_type
from ggufactory.plan.header import ALIGNMENT, header_of
from ggufactory.plan.importance import shown
from ggufactory.plan.layout import Piece, RowCosts, cut
from ggufactory.plan.recipe import Decision, TensorFacts, decide_types, reference_order
from ggufactory.storage.protocol import ObjectInfo, PartLimits
from ggufactory_kernels.types import TENSOR_TYPES

BIT_IDENTITY = 1
"""Raised when a release would write other bytes for the same inputs, so that runs never mix them."""


@dataclass(frozen=True, slots=True)
class FilePlan:
    """One GGUF file: `part_offsets[i]` is where the part of span `first_span + i` begins; the last is its size."""

    name: str
    header_bytes: int
    first_span: int
    part_offsets: tuple[int, ...]
    identity: str
    """What the file's bytes follow from, hashed: files with the same identity are the same file."""

    @property
    def size(self) -> int:
        return self.part_offsets[-1]

    @property
    def parts(self) -> int:
        return len(self.part_offsets) - 1


@dataclass(frozen=True, slots=True)
class RungPlan:
    """One rung: its decisions by tensor name, and the file or files they go to."""

    rung: FileType
    decisions: Mapping[str, Decision]
    files: tuple[FilePlan, ...]
    bits_per_weight: float
    """Tensor bytes over tensor elements, as llama-quantize prints it."""

    @property
    def bytes(self) -> int:
        return sum(f.size for f in self.files)


@dataclass(frozen=True)
class Plan:
    """What one job will do. Tensors are in llama-quantize's order, spans in file order."""

    name: str
    source: str
    sources: Mapping[str, ObjectInfo]
    """The weight files that are read, pinned by their tags."""
    model: Model
    tensors: tuple[OutputTensor, ...]
    rungs: tuple[RungPlan, ...]
    spans: tuple[tuple[Piece, ...], ...]
    importance: ImportanceMatrix | None
    worker_bytes: int
    notes: tuple[str, ...]
    """What the user should know and what is no fault: types that a width forced, and the like."""

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the job: its files and how they are cut into parts."""
        layout = [[f.name, f.identity, f.part_offsets] for r in self.rungs for f in r.files]
        spans = [[[p.tensor, p.start, p.stop] for p in span] for span in self.spans]
        return _hash([layout, spans])

    @cached_property
    def files(self) -> Mapping[str, FilePlan]:
        """Every file by name, in rung order."""
        return {file.name: file for rung in self.rungs for file in rung.files}

    @property
    def elements(self) -> int:
        return sum(t.rows * t.columns for t in self.tensors)

    def header(self, rung: RungPlan) -> bytes:
        """The exact bytes before the tensor data of the rung's (first) file."""
        return header_of(self.model, self.tensors, rung.rung, rung.decisions, self.importance)


def make(
    model: Model,
    ladder: Sequence[str],
    *,
    name: str,
    source: str,
    files: Mapping[str, ObjectInfo],
    limits: PartLimits,
    importance_matrix: ImportanceMatrix | None = None,
    quantizable: frozenset[str],
    dequantizable: frozenset[str] = frozenset(),
    allow_requantize: bool = False,
    span_bytes: int | None = None,
) -> Plan:
    """Plan `ladder` of `model`.

    `files`: the checkpoint's files by name; `quantizable`, `dequantizable`: the tensor types that
    the kernels can make, and make numbers of again; `limits`: of the target store; `allow_requantize`:
    also from tensors that are already quantized; `span_bytes`: wished source bytes of a span.
    PlanError with every fault: unknown rungs, types without a kernel, tensors that may not or cannot be
    converted, importance that is missing or does not fit, limits that no layout keeps.
    """
    tensors = tuple(sorted(model.tensors, key=lambda t: reference_order(t.name)))
    facts = [TensorFacts(t.name, tuple(reversed(t.shape)), t.converted_type) for t in tensors]
    model_facts = facts_of(model.architecture, {kv.key: kv.value for kv in model.metadata})
    rungs, faults = _rungs(ladder)
    has_importance = importance_matrix is not None
    decided = [(r, decide_types(facts, model_facts, r, has_importance=has_importance)) for r in rungs]
    for rung, decisions in decided:
        faults += _width_faults(rung, decisions)
    faults += conversion.faults(
        tensors,
        decided,
        quantizable=quantizable,
        dequantizable=dequantizable,
        allow_requantize=allow_requantize,
    )
    faults += importance.faults(tensors, decided, importance_matrix)
    if faults:
        raise PlanError(faults)

    costs = [_row_costs(t, [d[t.name].type for _, d in decided]) for t in tensors]
    spans = tuple(cut(costs, limits, span_bytes=span_bytes))
    read = sorted({s.file for t in tensors for s in t.sources})
    pinned = {file: files[file] for file in read}
    inputs = [[i.name, i.size, i.etag] for i in pinned.values()]
    inputs.append([importance_matrix.sha256 if importance_matrix else ""])
    planned = []
    for number, (rung, decisions) in enumerate(decided):
        header = header_of(model, tensors, rung, decisions, importance_matrix)
        file = FilePlan(
            name=f"{name}-{rung.name}.gguf",
            header_bytes=len(header),
            first_span=0,
            part_offsets=_part_offsets(spans, costs, number, len(header)),
            identity=_hash([BIT_IDENTITY, hashlib.sha256(header).hexdigest(), inputs]),
        )
        weights = sum(c.rows * c.rung_rows[number] for c in costs)
        elements = sum(t.rows * t.columns for t in tensors)
        planned.append(RungPlan(rung, decisions, (file,), weights * 8 / elements))
    _check_parts(planned, limits)
    return Plan(
        name=name,
        source=source,
        sources=pinned,
        model=model,
        tensors=tensors,
        rungs=tuple(planned),
        spans=spans,
        importance=importance_matrix,
        worker_bytes=memory.WORKER_BASE_BYTES + _largest_span(spans, tensors, costs, planned),
        notes=(*_width_notes(decided), *importance.notes(tensors, importance_matrix)),
    )


def _rungs(ladder: Sequence[str]) -> tuple[list[FileType], list[str]]:
    rungs: list[FileType] = []
    faults: list[str] = []
    for wanted in ladder:
        try:
            rung = file_type(wanted)
        except InputError as error:
            faults.append(str(error))
            continue
        if rung in rungs:
            faults.append(f"rung {rung.name} is named twice in the ladder")
        else:
            rungs.append(rung)
    if not ladder:
        faults.append("the ladder is empty: name at least one rung, such as Q4_K_M")
    return rungs, faults


def _width_faults(rung: FileType, decisions: Mapping[str, Decision]) -> list[str]:
    refused = [f"{name} ({d.wanted})" for name, d in decisions.items() if d.refused]
    return [
        f"rung {rung.name}: no type stands in where the width is no multiple of the block: {shown(refused)}"
    ] * bool(refused)


def _row_costs(tensor: OutputTensor, types: Sequence[str]) -> RowCosts:
    return RowCosts(
        rows=tensor.rows,
        source_row=TENSOR_TYPES[tensor.converted_type].row_bytes(tensor.columns),
        rung_rows=tuple(TENSOR_TYPES[kind].row_bytes(tensor.columns) for kind in types),
    )


def padding(size: int) -> int:
    """Zero bytes after a tensor of `size` bytes, up to the file's alignment."""
    return -size % ALIGNMENT


def _part_bytes(span: Sequence[Piece], costs: Sequence[RowCosts], rung: int) -> int:
    total = 0
    for piece in span:
        cost = costs[piece.tensor]
        total += (piece.stop - piece.start) * cost.rung_rows[rung]
        if piece.stop == cost.rows:
            total += padding(cost.rows * cost.rung_rows[rung])
    return total


def _part_offsets(
    spans: Sequence[Sequence[Piece]], costs: Sequence[RowCosts], rung: int, header: int
) -> tuple[int, ...]:
    sizes = [_part_bytes(span, costs, rung) for span in spans]
    sizes[0] += header
    return tuple(accumulate(sizes, initial=0))


def _check_parts(rungs: Sequence[RungPlan], limits: PartLimits) -> None:
    """The layout's own promise, checked on the result: a store would notice only at the very end."""
    faults = []
    for file in (f for rung in rungs for f in rung.files):
        sizes = [b - a for a, b in zip(file.part_offsets, file.part_offsets[1:], strict=False)]
        if max(sizes) > limits.max_part_bytes:
            faults.append(
                f"{file.name}: a part of {max(sizes)} bytes; the target takes {limits.max_part_bytes} at most"
            )
        assert all(size >= limits.min_part_bytes for size in sizes[:-1])
    if faults:
        raise PlanError(faults, fix="Ask for smaller spans (--span-size)")


def _largest_span(
    spans: Sequence[Sequence[Piece]],
    tensors: Sequence[OutputTensor],
    costs: Sequence[RowCosts],
    rungs: Sequence[RungPlan],
) -> int:
    largest = 0
    for number, span in enumerate(spans):
        pieces = []
        for piece in span:
            tensor, cost, rows = tensors[piece.tensor], costs[piece.tensor], piece.stop - piece.start
            packed = ((r.decisions[tensor.name].type, rows * c) for r, c in zip(rungs, cost.rung_rows, strict=True))
            unpacked_row = TENSOR_TYPES["F32"].row_bytes(tensor.columns)
            pieces.append(memory.PieceBytes(rows * cost.source_row, tensor.converted_type, tuple(packed), unpacked_row))
        offsets = [r.files[0].part_offsets for r in rungs]
        parts = [o[number + 1] - o[number] for o in offsets]
        headers = sum(r.files[0].header_bytes for r in rungs) if number == 0 else 0
        largest = max(largest, memory.span_bytes(pieces, parts, headers))
    return largest


def _width_notes(decided: Sequence[tuple[FileType, Mapping[str, Decision]]]) -> list[str]:
    notes = []
    for rung, decisions in decided:
        forced: dict[tuple[str, str], int] = {}
        for decision in decisions.values():
            if decision.wanted:
                change = (decision.wanted, decision.type)
                forced[change] = forced.get(change, 0) + 1
        notes += [
            f"{rung.name}: {n} tensors are {kind} instead of {wanted}, whose block does not divide their width"
            for (wanted, kind), n in sorted(forced.items())
        ]
    return notes


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, separators=(",", ":")).encode()).hexdigest()
