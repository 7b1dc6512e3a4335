"""From the plan and what the store already holds to the spans that are left, as descriptors."""

from __future__ import annotations

from collections.abc import Iterator

from ggufactory.architectures.model import OutputTensor
from ggufactory.checkpoint.rows import SourceRows
from ggufactory.cluster.descriptor import PartWork, PieceWork, SpanWork
from ggufactory.plan.layout import Piece
from ggufactory.plan.plan import Plan
from ggufactory.plan.progress import Progress


def missing_spans(plan: Plan, progress: Progress, target: str) -> Iterator[SpanWork]:
    """Every span that some file still lacks, with the parts that are missing and no others. What its other parts lose
    is measured beside them, where the run that stored them could not tell it."""
    for index, pieces in enumerate(plan.spans):
        parts = tuple(_missing_parts(plan, progress, index))
        if parts:
            unmeasured = tuple(dict.fromkeys(_unmeasured(plan, progress, index)))
            work = tuple(_piece_work(plan, piece) for piece in pieces)
            files = {file for piece in work for s in piece.sources for file in s.files}
            etags = {file: plan.sources[file].etag for file in sorted(files)}
            yield SpanWork(index, plan.source, target, etags, work, parts, unmeasured)


def count_missing(plan: Plan, progress: Progress) -> int:
    """How many spans `missing_spans` would yield."""
    return sum(any(True for _ in _missing_parts(plan, progress, index)) for index in range(len(plan.spans)))


def _missing_parts(plan: Plan, progress: Progress, index: int) -> Iterator[PartWork]:
    names = [plan.tensors[piece.tensor].name for piece in plan.spans[index]]
    for rung in plan.rungs:
        for file in rung.files:
            at = index - file.first_span
            if file.name in progress.finished or not 0 <= at < file.parts or at + 1 in progress.parts[file.name]:
                continue
            yield PartWork(
                upload=progress.uploads[file.name],
                number=at + 1,
                offset=file.part_offsets[at],
                size=file.part_offsets[at + 1] - file.part_offsets[at],
                header_bytes=file.header_bytes if at == 0 else 0,
                types=tuple(rung.decisions[name].type for name in names),
                weighted=tuple(rung.weighs(name) for name in names),
            )


def _unmeasured(plan: Plan, progress: Progress, index: int) -> Iterator[tuple[int, str, bool]]:
    """What the stored parts of unfinished files were made of, where nobody knows what it loses."""
    if index in progress.measured:
        return
    tensors = [plan.tensors[piece.tensor] for piece in plan.spans[index]]
    for rung in plan.rungs:
        for file in rung.files:
            if index - file.first_span + 1 not in progress.parts.get(file.name, ()):
                continue
            for number, tensor in enumerate(tensors):
                kind = rung.decisions[tensor.name].type
                if kind != tensor.converted_type:
                    yield number, kind, rung.weighs(tensor.name)


def _piece_work(plan: Plan, piece: Piece) -> PieceWork:
    tensor = plan.tensors[piece.tensor]
    skipped, sources = sources_of(tensor, piece.start, piece.stop)
    return PieceWork(
        tensor=tensor.name,
        columns=tensor.columns,
        start=piece.start,
        stop=piece.stop,
        rows_per_matrix=tensor.rows_per_matrix,
        converted_type=tensor.converted_type,
        sources=sources,
        skipped_rows=skipped,
        row_map=tensor.row_map,
        value_map=tensor.value_map,
        values=tensor.values,
        padded=piece.stop == tensor.rows,
    )


def sources_of(tensor: OutputTensor, start: int, stop: int) -> tuple[int, tuple[SourceRows, ...]]:
    """Those that output rows [start, stop) come from, and how many rows lie before them.

    A stack of experts has hundreds of sources, and a descriptor should hold its own.
    """
    if len(tensor.sources) > 1 and tensor.row_map is not None:
        rows = tensor.row_map.source_rows(start, stop)
        start, stop = int(rows.min()), int(rows.max()) + 1
    used, skipped, first = [], 0, 0
    for source in tensor.sources:
        if first + source.rows <= start:
            skipped = first + source.rows
        elif first < stop:
            used.append(source)
        first += source.rows
    return skipped, tuple(used)
