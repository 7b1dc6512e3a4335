"""What the commands print for people: a table each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ggufactory.calibrate.imatrix import ImportanceMatrix
from ggufactory.calibrate.record import CalibrationRecord
from ggufactory.checkpoint.summary import CheckpointSummary
from ggufactory.container.metadata import KeyValue, ValueType
from ggufactory.job.inspection import GgufSummary
from ggufactory.job.ladder_job import Result
from ggufactory.observe.console import tell
from ggufactory.observe.numbers import counted, show_bytes, show_core_time, show_seconds
from ggufactory.observe.tally import Tally
from ggufactory.plan.device_memory import task_bytes
from ggufactory.plan.plan import Plan, RungPlan
from ggufactory.plan.processor_time import processor_seconds
from ggufactory.publish.verify import Verdict

Show = TypeVar("Show")
"""What tells a column's value."""

_VALUE_SHOWN = 60
_ITEMS_SHOWN = 4


def print_plan(console: Console, plan: Plan) -> None:
    """A row per rung, then what a worker needs."""
    table = plain_table("rung", "file", "size>", "bits/weight>", "parts>", "tensor types")
    for rung in plan.rungs:
        for file in rung.files:
            size, bits = show_bytes(file.size), f"{rung.bits_per_weight:.2f}"
            table.add_row(rung.name, file.name, size, bits, str(file.parts), _types(rung))
    console.print(table)
    total = show_bytes(sum(rung.bytes for rung in plan.rungs))
    console.print(
        f"{plan.elements:,} parameters of {plan.architecture} from {plan.source}: {total} in "
        f"{counted(len(plan.spans), 'span')}; a worker needs {show_bytes(plan.worker_bytes)}; "
        f"about {show_core_time(processor_seconds(plan))} with AVX-512; plan {plan.fingerprint[:12]}",
    )
    of_node = show_bytes(task_bytes(plan.worker_bytes, gpu_share=1))
    console.print(f"on a GPU a worker needs {of_node}, and {show_bytes(plan.device_bytes)} of the GPU's memory")
    for note in plan.notes:
        tell(console, "note", "yellow", note)


def print_result(console: Console, target: str, result: Result, tally: Tally) -> None:
    """A row per artifact, then what it took."""
    table = plain_table("rung", "artifact", "size>", "bits/weight>", "types", "sha256")
    for entry in result.entries:
        types = ", ".join(f"{kind} {count}" for kind, count in entry["types"].items())
        size, bits = show_bytes(entry["bytes"]), f"{entry['bits_per_weight']:.2f}"
        table.add_row(entry["rung"], entry["file"], size, bits, types, entry["sha256"][:16])
    console.print(table)
    if (matrix := result.plan.importance) is not None and matrix.record is not None:
        print_matrix(console, matrix, matrix.record)
    if not result.made:
        nothing = "Nothing to do" if result.evaluated is None else "No file was missing"
        console.print(f"{nothing}: {target} has it all.")
        return
    console.print(
        f"{target}: {tally.done} of {tally.spans} spans made in {show_seconds(tally.seconds)} "
        f"({tally.cpu_seconds:.1f} CPU seconds), "
        f"{show_bytes(tally.bytes_read)} read, {show_bytes(tally.bytes_written)} written; "
        f"{tally.quantizations:,} quantizations, each type of a piece once; "
        f"largest worker {show_bytes(tally.peak_rss)} of {show_bytes(result.plan.worker_bytes)} planned",
    )


def print_matrix(console: Console, matrix: ImportanceMatrix, record: CalibrationRecord) -> None:
    """The importance matrix that the job's calibration made, in a line."""
    console.print(
        f"{matrix.file}: {len(matrix.entries)} entries from {counted(matrix.chunk_count, 'chunk')} of "
        f"{record.context} tokens; perplexity of the source {record.perplexity:.4f}",
    )


def print_verdict(console: Console, verdict: Verdict) -> None:
    """One line per artifact."""
    state = ("FAILED", "red") if verdict.fault else ("ok", "green")
    line = Text.assemble(f"{verdict.file}  {show_bytes(verdict.bytes)}  ", state, f" {verdict.fault}".rstrip())
    console.print(line, soft_wrap=True)


def print_inspection(console: Console, found: CheckpointSummary | GgufSummary) -> None:
    """Facts first, then types."""
    if isinstance(found, CheckpointSummary):
        _print_checkpoint(console, found)
    else:
        _print_gguf(console, found)


def _print_checkpoint(console: Console, found: CheckpointSummary) -> None:
    facts = (
        ("architecture", ", ".join(found.architectures) or "not named in config.json"),
        ("parameters", f"{found.total.parameters:,}"),
        ("tensors", f"{found.total.tensors:,} in {counted(found.files, 'file')}, {show_bytes(found.file_bytes)}"),
        ("largest", ", ".join(f"{t.name} {list(t.shape)}" for t in found.largest)),
    )
    console.print(Text.assemble((found.name, "bold"), "  ", found.uri), soft_wrap=True)
    _print_facts(console, facts)
    table = plain_table("dtype", "tensors>", "parameters>", "size>")
    for dtype, totals in found.dtypes:
        table.add_row(dtype, str(totals.tensors), f"{totals.parameters:,}", show_bytes(totals.nbytes))
    console.print(table)


def _print_gguf(console: Console, found: GgufSummary) -> None:
    console.print(Text.assemble((found.uri, "bold"), "  ", show_bytes(found.size)), soft_wrap=True)
    tensors = f"{found.tensors:,}" + (f" in {found.files} files" if found.files > 1 else "")
    _print_facts(console, [("parameters", f"{found.parameters:,}"), ("tensors", tensors)])
    metadata = plain_table("key", "type", "value")
    for kv in found.metadata:
        metadata.add_row(kv.key, kv.type.name, _shown(kv))
    console.print(metadata)
    table = plain_table("tensor type", "tensors>", "size>")
    for kind, count, size in found.types:
        table.add_row(kind, str(count), show_bytes(size))
    console.print(table)


def _shown(kv: KeyValue) -> str:
    if isinstance(kv.value, tuple):
        kind = kv.item_type.name if kv.item_type is not None else ""
        return f"{len(kv.value):,} x {kind}: {_items(kv)}"
    text = str(np.float32(kv.value)) if kv.type is ValueType.FLOAT32 else str(kv.value)
    line = text.replace("\n", "\\n")
    return line if len(line) <= _VALUE_SHOWN else f"{line[:_VALUE_SHOWN]}… ({len(line)} characters)"


def _items(kv: KeyValue) -> str:
    """The first few of an array."""
    assert isinstance(kv.value, tuple)
    first = [str(np.float32(v)) if kv.item_type is ValueType.FLOAT32 else repr(v) for v in kv.value[:_ITEMS_SHOWN]]
    return ", ".join(first) + (" …" if len(kv.value) > _ITEMS_SHOWN else "")


def _print_facts(console: Console, facts: tuple[tuple[str, str], ...] | list[tuple[str, str]]) -> None:
    grid = Table.grid(padding=(0, 2))
    for name, value in facts:
        grid.add_row(name, value)
    console.print(grid)


def _types(rung: RungPlan) -> str:
    counts = Counter(decision.type for decision in rung.decisions.values())
    return ", ".join(f"{kind} {count}" for kind, count in counts.most_common())


def fitting(
    console: Console, columns: Mapping[str, Show], full_width: int, left_out: Collection[str]
) -> dict[str, Show]:
    """All columns where the terminal has `full_width` characters, else those that are not `left_out`: folded numbers
    cannot be read."""
    narrow = console.width < full_width
    return {title: show for title, show in columns.items() if not narrow or title not in left_out}


def plain_table(*columns: str) -> Table:
    """Columns by title; a title that ends in ">" is of numbers."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in columns:
        table.add_column(title.rstrip(">"), justify="right" if title.endswith(">") else "left", overflow="fold")
    return table
