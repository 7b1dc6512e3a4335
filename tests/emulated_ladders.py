"""Ladders made span by span in this process, on its CPU or on a GPU, emulated or real, so that both can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from emulated_device import EmulatedDevice, torch_memory_of

import ggufactory_kernels as gk
from ggufactory.architectures import describe
from ggufactory.architectures.model import Model
from ggufactory.assemble import uploads
from ggufactory.checkpoint import open_source
from ggufactory.cluster import device_rows, span_task
from ggufactory.cluster.span_pipeline import make_span
from ggufactory.cluster.work import missing_spans
from ggufactory.plan import device_memory
from ggufactory.plan import plan as planning
from ggufactory.plan.plan import Plan
from ggufactory.plan.tensor_errors import PieceErrors
from ggufactory.storage import open_store
from ggufactory_kernels.cuda.courier import Courier

LADDER = ("Q8_0", "Q4_K_M", "Q4_0", "F16")
SLICE = 20_000
Arrays = Mapping[str, np.ndarray]


def use_small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several of a piece, and memory counted to the byte."""
    for module in (device_rows, device_memory):
        monkeypatch.setattr(module, "SLICE_WEIGHTS", SLICE)
        monkeypatch.setattr(module, "SMALLEST_SLICE_WEIGHTS", SLICE // 4)
    monkeypatch.setattr(device_memory, "_ROUNDING", 1)


def plan_ladder(
    source: str,
    target: Path,
    ladder: tuple[str, ...] = LADDER,
    model: Model | None = None,
    span_bytes: int = 600_000,
) -> Plan:
    checkpoint = open_source(source)
    return planning.make(
        model or describe(checkpoint),
        ladder,
        name="m",
        source=checkpoint.store.uri,
        files=checkpoint.files,
        limits=open_store(str(target)).limits,
        quantizable=frozenset(kind for kind in gk.TENSOR_TYPES if gk.quantizable(kind)),
        allow_requantize=True,
        span_bytes=span_bytes,
    )


def make_ladder(
    plan: Plan, target: Path, importance: Arrays, device: str, errors: list[PieceErrors] | None = None
) -> dict[str, bytes]:
    """The files; what they lose is added to `errors`."""
    store = open_store(str(target))
    progress = uploads.begin(store, plan)
    headers = {file.name: plan.header(rung, file) for rung in plan.rungs for file in rung.files}
    for work in missing_spans(plan, progress, str(target)):
        weighed = replace(work, parts=tuple(_weighted(part, work.pieces, importance) for part in work.parts))
        begun = {part.upload.name: headers[part.upload.name] for part in work.parts if part.header_bytes}
        receipt = make_span(weighed, begun, importance, device=device)
        for name, part in receipt.parts:
            progress.parts[name][part.number] = part
        if errors is not None:
            errors += receipt.errors
    for file in plan.files.values():
        uploads.complete(store, file, progress)
    return {name: (target / name).read_bytes() for name in plan.files}


def _weighted(part: span_task.PartWork, pieces: tuple[span_task.PieceWork, ...], arrays: Arrays) -> span_task.PartWork:
    """As a plan with importance for these tensors would say."""
    return replace(part, weighted=tuple(piece.tensor in arrays for piece in pieces))


@contextmanager
def emulated_gpu(
    library: Path, monkeypatch: pytest.MonkeyPatch, late: frozenset[int] = frozenset(), memory: int | None = None
) -> Iterator[EmulatedDevice]:
    device = EmulatedDevice(library, late, memory)
    courier = Courier(device, buffer_bytes=5000)
    monkeypatch.setattr(span_task, "own_courier", lambda: courier)
    with torch_memory_of(device):
        yield device
