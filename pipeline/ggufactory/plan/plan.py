"""The plan: everything that is decided before a weight is read.

Pure and deterministic: from a described checkpoint, a ladder, an importance matrix and the target's
part limits to every tensor's type on every rung, every file's header and size, every span, and the
memory a worker needs. All faults are found together. Two runs that make the same plan have the same
fingerprint, and may resume each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from ggufactory.architectures.model import Model, OutputTensor
from ggufactory.calibrate.imatrix import ImportanceMatrix
from ggufactory.checkpoint.packing.encoded_rows import EncodedSource
from ggufactory.checkpoint.rows import StoredRows
from ggufactory.container.metadata import KeyValue, ValueType
from ggufactory.errors import PlanError
from ggufactory.plan import conversion, device_memory, importance, memory
from ggufactory.plan.facts import facts_of
from ggufactory.plan.files import FilePlan, Split, hash_of, plan_files
from ggufactory.plan.header import copied, encode_file_header, metadata_of
from ggufactory.plan.importance import UsedImportance, shown
from ggufactory.plan.ladder import Rung, resolve
from ggufactory.plan.layout import Piece, RowCosts, cut
from ggufactory.plan.notes import notes_of_options, notes_of_types
from ggufactory.plan.options import NO_OPTIONS, Options
from ggufactory.plan.provenance import UNTOLD, Provenance
from ggufactory.plan.prune import block_count, prune
from ggufactory.plan.recipe import Decision, decide_types
from ggufactory.plan.roles import TensorFacts, reference_order
from ggufactory.storage.protocol import ObjectInfo, PartLimits
from ggufactory_kernels.types import TENSOR_TYPES


@dataclass(frozen=True, slots=True)
class RungPlan:
    """One rung: its decisions by tensor name, and the file or files they go to."""

    rung: Rung
    decisions: Mapping[str, Decision]
    used: UsedImportance | None
    metadata: tuple[KeyValue, ...]
    files: tuple[FilePlan, ...]
    bits_per_weight: float
    """Tensor bytes over tensor elements, as llama-quantize prints it."""

    @property
    def name(self) -> str:
        return self.rung.name

    @property
    def bytes(self) -> int:
        return sum(f.size for f in self.files)

    def weighs(self, tensor: str) -> bool:
        """Whether importance changes this tensor's bytes on this rung."""
        covered = self.used is not None and self.used.covers(tensor)
        return covered and TENSOR_TYPES[self.decisions[tensor].type].uses_importance

    def part_bytes(self, span: int) -> int:
        """Of all of its files (one at most has a part of any span)."""
        return sum(file.part_bytes(span) for file in self.files)


@dataclass(frozen=True)
class Plan:
    """What one job will do. Tensors are in llama-quantize's order, spans in file order."""

    name: str
    source: str
    sources: Mapping[str, ObjectInfo]
    """The weight files that are read, pinned by their tags."""
    architecture: str
    tensors: tuple[OutputTensor, ...]
    rungs: tuple[RungPlan, ...]
    spans: tuple[tuple[Piece, ...], ...]
    """Where files may be split, the first is empty: it makes the files of metadata alone."""
    importance: ImportanceMatrix | None
    importance_names: Mapping[str, str]
    """Tensor name -> name of its importance entry; they differ where layers were pruned."""
    worker_bytes: int
    """Of main memory, for a task; on a GPU `device_memory.HOST_BYTES` more."""
    device_bytes: int
    """Of a GPU's memory, for a task that runs there."""
    notes: tuple[str, ...]
    """What the user should know and what is no fault: types that a width forced, and the like."""
    provenance: Provenance
    """For the manifest and the model card."""

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the job: its files and how they are cut into parts."""
        layout = [[f.name, f.identity, f.first_span, f.part_offsets] for r in self.rungs for f in r.files]
        spans = [[[p.tensor, p.start, p.stop] for p in span] for span in self.spans]
        return hash_of([layout, spans])

    @cached_property
    def files(self) -> Mapping[str, FilePlan]:
        """Every file by name, in rung order."""
        return {file.name: file for rung in self.rungs for file in rung.files}

    @property
    def elements(self) -> int:
        return sum(t.rows * t.columns for t in self.tensors)

    def header(self, rung: RungPlan, file: FilePlan) -> bytes:
        """The exact bytes before the tensor data of one of the rung's files."""
        return _header(rung.metadata, self.tensors, rung.decisions, file.tensors, file.split, file.with_metadata)


def make(
    model: Model,
    ladder: Sequence[str | Rung],
    *,
    name: str,
    source: str,
    files: Mapping[str, ObjectInfo],
    limits: PartLimits,
    importance_matrix: ImportanceMatrix | None = None,
    quantizable: frozenset[str],
    allow_requantize: bool = False,
    span_bytes: int | None = None,
    options: Options = NO_OPTIONS,
    prune_layers: Sequence[int] = (),
    split_bytes: int | None = None,
    keep_split: bool = False,
    provenance: Provenance = UNTOLD,
) -> Plan:
    """Plan `ladder` of `model`.

    `files`: the checkpoint's files by name; `quantizable`: the tensor types that the kernels can make;
    `allow_requantize`: also from tensors that are already quantized; `limits`: of the target store;
    `span_bytes`: wished source bytes of a span; `options`: for every rung, under its own; `split_bytes`:
    tensor bytes of a file at most; `keep_split`: as many files as the source has; `provenance`: what is
    told of the source.
    PlanError with every fault: unknown rungs, types without a kernel, tensors that may not or cannot be
    converted, importance that is missing or does not fit, limits that no layout keeps.
    """
    rungs, faults = resolve(ladder, options)
    remaining, before = prune(model, prune_layers)
    tensors = tuple(sorted(remaining, key=_place if keep_split else lambda t: reference_order(t.name)))
    drafts = [_draft(model, tensors, rung, importance_matrix, before, keep_split) for rung in rungs]
    faults += _prune_faults(model, prune_layers)
    faults += importance.misfits(tensors, importance_matrix, before) if importance_matrix else []
    for draft in drafts:
        faults += _width_faults(draft) + conversion.kernel_faults(
            draft.rung.name, tensors, draft.decisions, quantizable
        )
        faults += importance.faults(draft.rung, tensors, draft.decisions, draft.used)
    changed = conversion.changed(tensors, [d.decisions for d in drafts])
    faults += conversion.faults(changed, allow_requantize=allow_requantize)
    if faults:
        raise PlanError(faults)

    costs = [_row_costs(t, [d.decisions[t.name].type for d in drafts]) for t in tensors]
    split = Split(split_bytes, _shard_borders(tensors) if keep_split else ())
    spans = tuple(cut(costs, limits, span_bytes=span_bytes, borders=split.at_tensors))
    if split_bytes is not None:
        spans = ((), *spans)
    pinned = {file: files[file] for file in sorted({file for t in tensors for s in t.sources for file in s.files})}
    inputs = [[i.name, i.size, i.etag] for i in pinned.values()]
    converted = [t.converted_type for t in tensors]
    pruned = [KeyValue(f"{model.architecture}.block_count", ValueType.UINT32, block_count(tensors))]
    given = copied(model.metadata)
    planned = []
    for number, draft in enumerate(drafts):
        metadata = metadata_of(given, draft.rung, draft.used, pruned[0] if prune_layers else None)
        weighed = [importance_matrix.sha256, sorted(draft.used.entries)] if importance_matrix and draft.used else []
        planned.append(
            RungPlan(
                rung=draft.rung,
                decisions=draft.decisions,
                used=draft.used,
                metadata=tuple(metadata),
                files=plan_files(
                    f"{name}-{draft.rung.name}",
                    spans,
                    costs,
                    number,
                    partial(_header, metadata, tensors, draft.decisions),
                    [inputs, converted, list(prune_layers), weighed],
                    split,
                ),
                bits_per_weight=sum(c.rows * c.rung_rows[number] for c in costs)
                * 8
                / sum(t.rows * t.columns for t in tensors),
            )
        )
    _check_parts(planned, limits)
    return Plan(
        name=name,
        source=source,
        sources=pinned,
        architecture=model.architecture,
        tensors=tensors,
        rungs=tuple(planned),
        spans=spans,
        importance=importance_matrix,
        importance_names=before,
        worker_bytes=_worker_bytes(spans, tensors, costs, planned),
        device_bytes=_device_bytes(spans, tensors, planned),
        notes=tuple(_notes(drafts, tensors, importance_matrix, before)),
        provenance=provenance,
    )


@dataclass(frozen=True, slots=True)
class _Draft:
    """A rung that is decided and not yet laid out. `plain`: what its file type alone would decide."""

    rung: Rung
    decisions: Mapping[str, Decision]
    plain: Mapping[str, Decision]
    used: UsedImportance | None


def _draft(
    model: Model,
    tensors: Sequence[OutputTensor],
    rung: Rung,
    matrix: ImportanceMatrix | None,
    before: Mapping[str, str],
    in_order: bool,
) -> _Draft:
    known = {kv.key: kv.value for kv in (*model.metadata, *rung.options.metadata)}
    facts = facts_of(model.architecture, known)
    shapes = [TensorFacts(t.name, tuple(reversed(t.shape)), t.converted_type) for t in tensors]
    used = importance.used_by(rung, matrix, before)
    weighed = used is not None
    decide = partial(decide_types, shapes, facts, rung.file_type, has_importance=weighed, in_order=in_order)
    plain = decide()
    return _Draft(rung, plain if rung.options == NO_OPTIONS else decide(options=rung.options), plain, used)


def _notes(
    drafts: Sequence[_Draft],
    tensors: Sequence[OutputTensor],
    matrix: ImportanceMatrix | None,
    before: Mapping[str, str],
) -> list[str]:
    entries = matrix.entries if matrix and not matrix.promise else ()
    return [
        *(note for draft in drafts for note in notes_of_types(draft.rung, draft.decisions, draft.plain)),
        *notes_of_options([draft.rung for draft in drafts], [tensor.name for tensor in tensors], entries),
        *(importance.notes(matrix, before) if matrix else ()),
    ]


def _place(tensor: OutputTensor) -> tuple[str, int]:
    """Where it lies in the source: the order that llama-quantize --keep-split works in."""
    return tensor.sources[0].file, tensor.sources[0].offset


def _shard_borders(tensors: Sequence[OutputTensor]) -> tuple[int, ...]:
    """The tensors, but the first, with which a file of the source begins."""
    files = [tensor.sources[0].file for tensor in tensors]
    return tuple(number for number in range(1, len(files)) if files[number] != files[number - 1])


def _header(
    metadata: Sequence[KeyValue],
    tensors: Sequence[OutputTensor],
    decisions: Mapping[str, Decision],
    held: tuple[int, int],
    split: Sequence[KeyValue],
    with_metadata: bool,
) -> bytes:
    keys = [*(metadata if with_metadata else ()), *split]
    return encode_file_header(keys, tensors[held[0] : held[1]], decisions)


def _prune_faults(model: Model, layers: Sequence[int]) -> list[str]:
    blocks = block_count(model.tensors)
    unknown = [str(layer) for layer in layers if not 0 <= layer < blocks]
    if not unknown:
        return []
    return [f"prune_layers: the model has layers 0 to {blocks - 1}, not {', '.join(unknown)}"]


def _width_faults(draft: _Draft) -> list[str]:
    refused = [f"{name} ({d.wanted})" for name, d in draft.decisions.items() if d.refused]
    told = "no type stands in where the width is no multiple of the block"
    return [f"rung {draft.rung.name}: {told}: {shown(refused)}"] if refused else []


def _row_costs(tensor: OutputTensor, types: Sequence[str]) -> RowCosts:
    return RowCosts(
        rows=tensor.rows,
        source_row=TENSOR_TYPES[tensor.converted_type].row_bytes(tensor.columns),
        rung_rows=tuple(TENSOR_TYPES[kind].row_bytes(tensor.columns) for kind in types),
    )


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


def _worker_bytes(
    spans: Sequence[Sequence[Piece]],
    tensors: Sequence[OutputTensor],
    costs: Sequence[RowCosts],
    rungs: Sequence[RungPlan],
) -> int:
    """Of main memory, for any spans that follow each other."""
    largest = 0
    ahead = [_piece_bytes(piece, tensors, costs, rungs) for piece in (spans[0] if spans else ())]
    parts: list[int] = []
    begun = [sum(f.header_bytes for r in rungs for f in r.files if f.first_span == n) for n in range(len(spans))]
    for number in range(len(spans)):
        pieces = ahead
        following = spans[number + 1] if number + 1 < len(spans) else ()
        ahead = [_piece_bytes(piece, tensors, costs, rungs) for piece in following]
        parts = [*parts[-memory.UPLOADS_IN_FLIGHT :], *(r.part_bytes(number) for r in rungs)]
        # A task is given the headers of all of its spans.
        headers = sum(begun[max(number - memory.SPANS_PER_TASK + 1, 0) : number + memory.SPANS_PER_TASK])
        largest = max(largest, memory.span_bytes(pieces, parts, headers, ahead))
    return memory.WORKER_BASE_BYTES + largest


def _piece_bytes(
    piece: Piece, tensors: Sequence[OutputTensor], costs: Sequence[RowCosts], rungs: Sequence[RungPlan]
) -> memory.PieceBytes:
    tensor, cost, rows = tensors[piece.tensor], costs[piece.tensor], piece.stop - piece.start
    packed = (
        (r.decisions[tensor.name].type, r.weighs(tensor.name), rows * c)
        for r, c in zip(rungs, cost.rung_rows, strict=True)
    )
    unpacked_row = TENSOR_TYPES["F32"].row_bytes(tensor.columns)
    return memory.PieceBytes(
        held=rows * cost.source_row,
        held_type=tensor.converted_type,
        packed=tuple(packed),
        unpacked_row=unpacked_row,
        decoded_unit=_decoded_rows(tensor) * unpacked_row,
    )


def _device_bytes(spans: Sequence[Sequence[Piece]], tensors: Sequence[OutputTensor], rungs: Sequence[RungPlan]) -> int:
    """Of a GPU's memory, for any span."""
    kinds = [frozenset(r.decisions[tensor.name].type for r in rungs) for tensor in tensors]
    decoded = [_rows_sent_encoded(tensor) for tensor in tensors]

    def device_piece(piece: Piece) -> device_memory.DevicePiece:
        tensor, rows = tensors[piece.tensor], piece.stop - piece.start
        return device_memory.DevicePiece(
            rows=rows,
            columns=tensor.columns,
            matrices=min(rows // tensor.rows_per_matrix + 2, tensor.rows // tensor.rows_per_matrix),
            held_type=tensor.converted_type,
            kinds=kinds[piece.tensor],
            decoded_rows=decoded[piece.tensor],
        )

    largest = max((device_memory.device_bytes([device_piece(p) for p in span]) for span in spans), default=0)
    return device_memory.BASE_BYTES + largest


def _rows_sent_encoded(tensor: OutputTensor) -> int:
    """How many rows a GPU decodes at a time, if it decodes any."""
    if not all(isinstance(source, EncodedSource) for source in tensor.sources):
        return 0
    return memory.tile_rows(tensor.columns, max((source.unit for source in tensor.sources), default=1))


def _decoded_rows(tensor: OutputTensor) -> int:
    """How many rows are decoded together, if any are."""
    return max((source.unit for source in tensor.sources if not isinstance(source, StoredRows)), default=0)
