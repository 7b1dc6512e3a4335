"""The two stages of a job as Ray tasks: quantize (a task makes a few spans) and checksum (one task a file)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import ray

from ggufactory.cluster import gpu_failures, stopping
from ggufactory.cluster.batches import batches, task_slots
from ggufactory.cluster.descriptor import ChecksumReceipt, SpanReceipt, SpanWork
from ggufactory.cluster.devices import backend_of_worker
from ggufactory.cluster.session import Session
from ggufactory.cluster.span_pipeline import make_spans
from ggufactory.cluster.submit import Call, Waiter, bind, options, put_all, run_all
from ggufactory.cluster.work import count_missing, missing_spans
from ggufactory.errors import GgufactoryError
from ggufactory.plan.device_memory import task_bytes
from ggufactory.plan.memory import WORKER_BASE_BYTES
from ggufactory.plan.plan import Plan
from ggufactory.plan.progress import Progress
from ggufactory.storage import open_store
from ggufactory.storage.checksum import checksum_object
from ggufactory.storage.protocol import ObjectInfo


def _make_spans(
    works: Sequence[SpanWork],
    device: tuple[str, float],
    attempts: int,
    headers: list[str],
    importance: list[str],
    *blobs: Any,
) -> list[SpanReceipt] | None:
    """`device`: the request and the share of a GPU; `attempts`: in other tasks before; `blobs`: the headers, then the
    importance arrays, fetched by Ray because they are arguments. None: the run is being stopped."""
    if stopping.is_asked():
        return None
    count = len(headers)
    backend = backend_of_worker(*device)
    if backend == "cuda":
        backend = gpu_failures.backend_after_failures(device[0])
    with gpu_failures.ending_the_process() if backend == "cuda" else nullcontext():
        receipts = make_spans(
            works,
            dict(zip(headers, blobs[:count], strict=True)),
            dict(zip(importance, blobs[count:], strict=True)),
            device=backend,
            stopped=stopping.is_asked,
        )
    return [replace(receipt, retries=attempts + _attempts_before()) for receipt in receipts]


def _attempts_before() -> int:
    """Of the task that this process is in. Ray tells them to nobody else; its public context leaves them out."""
    return int(ray._private.worker.global_worker.core_worker.get_current_task_attempt_number())


def _checksum_object(target: str, name: str, size: int, etag: str) -> ChecksumReceipt | None:
    """None: the run is being stopped."""
    if stopping.is_asked():
        return None
    began = time.monotonic()
    checksum = checksum_object(open_store(target), ObjectInfo(name, size, etag))
    return ChecksumReceipt(name, checksum, time.monotonic() - began)


def shared_bytes(plan: Plan) -> int:
    """What the job places in the object store."""
    headers = sum(file.header_bytes for rung in plan.rungs for file in rung.files)
    return headers + (sum(e.nbytes for e in plan.importance.entries.values()) if plan.importance else 0)


def quantize(
    session: Session,
    plan: Plan,
    progress: Progress,
    target: str,
    on_receipt: Callable[[SpanReceipt], None],
    on_failure: Callable[[str, GgufactoryError], None],
    waiter: Waiter,
    device: tuple[str, float],
) -> dict[str, GgufactoryError]:
    """Make every missing part of `plan`; the spans that failed, by name.

    `device`: the request, and the part of a GPU that each task asks for (`devices.gpu_share`).
    """
    _, share = device
    memory = task_bytes(plan.worker_bytes, share)
    spans = _SpanCalls(plan, target, device, memory)
    slots = task_slots(session.nodes(), memory, share, fixed=session.embedded)

    teller = gpu_failures.Teller(waiter.warn)

    def on_receipts(receipts: Sequence[SpanReceipt]) -> None:
        for receipt in receipts:
            on_receipt(receipt)
        if share and any(receipt.retries for receipt in receipts):
            teller.look()

    missing = batches(missing_spans(plan, progress, target), count_missing(plan, progress), slots)
    return run_all(
        session,
        (spans.call(works) for works in missing),
        memory,
        on_receipts,
        waiter,
        on_failure=on_failure,
        leftovers=spans.leftovers,
        gpus=share,
    )


class _SpanCalls:
    """The calls that make spans of a plan."""

    def __init__(self, plan: Plan, target: str, device: tuple[str, float], memory: int) -> None:
        self._plan = plan
        self._target = target
        self._device = device
        self._importance = put_all(_importance(plan))
        # A worker lives on after its task: its GPU's context and kernels take seconds to make.
        keep = ray.remote(max_calls=0)(_make_spans)
        self._single = keep.options(**options("quantize", memory=memory, gpus=device[1]))
        # What is left of several spans is tried again one by one.
        self._several = keep.options(**options("quantize", memory=memory, gpus=device[1], retries=0))
        self._batches: dict[str, tuple[SpanWork, ...]] = {}

    def call(self, works: tuple[SpanWork, ...], attempts: int = 0) -> tuple[str, Call]:
        """With its name, which is that of its spans."""
        plan, several = self._plan, len(works) > 1
        name = f"spans {works[0].index} to {works[-1].index}" if several else f"span {works[0].index}"
        if several:
            self._batches[name] = works
        begun = {part.upload.name for work in works for part in work.parts if part.header_bytes}
        files = [(rung, file) for rung in plan.rungs for file in rung.files if file.name in begun]
        headers = put_all({file.name: plan.header(rung, file) for rung, file in files})
        weighed = sorted({p.tensor for work in works for p in work.pieces} & self._importance.keys())
        blobs = [*headers.values(), *(self._importance[tensor] for tensor in weighed)]
        task = self._several if several else self._single
        return name, bind(task, works, self._device, attempts, list(headers), weighed, *blobs)

    def leftovers(self, name: str, receipts: Sequence[SpanReceipt] | None) -> list[tuple[str, Call]]:
        """Of several spans, those that were not made, each by itself."""
        made = {receipt.index for receipt in receipts or ()}
        return [self.call((work,), attempts=1) for work in self._batches.pop(name, ()) if work.index not in made]


def checksum(
    session: Session,
    objects: Sequence[ObjectInfo],
    target: str,
    on_checksum: Callable[[ChecksumReceipt], None],
    waiter: Waiter,
) -> dict[str, GgufactoryError]:
    """Read finished files back, one task each; the files that failed, by name."""
    task = ray.remote(_checksum_object).options(**options("checksum", memory=WORKER_BASE_BYTES))
    calls = ((o.name, bind(task, target, o.name, o.size, o.etag)) for o in objects)
    return run_all(session, calls, WORKER_BASE_BYTES, on_checksum, waiter)


def _importance(plan: Plan) -> dict[str, npt.NDArray[np.float32]]:
    """By tensor name: float32 [matrices, columns]."""
    if plan.importance is None:
        return {}
    found = {}
    for tensor in plan.tensors:
        entry = plan.importance_names[tensor.name]
        values = plan.importance.for_tensor(entry, tensor.rows // tensor.rows_per_matrix, tensor.columns)
        if values is not None:
            found[tensor.name] = values
    return found
