"""The two stages of a job as Ray tasks: quantize (one task a span) and checksum (one task a file)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import ray

from ggufactory.cluster import stopping
from ggufactory.cluster.descriptor import ChecksumReceipt, SpanReceipt, SpanWork
from ggufactory.cluster.devices import backend_of_worker, gpu_share
from ggufactory.cluster.session import Session
from ggufactory.cluster.span_task import make_span
from ggufactory.cluster.submit import Call, Waiter, bind, options, put_all, run_all
from ggufactory.cluster.work import missing_spans
from ggufactory.errors import GgufactoryError
from ggufactory.plan.memory import WORKER_BASE_BYTES
from ggufactory.plan.plan import Plan
from ggufactory.plan.progress import Progress
from ggufactory.storage import open_store
from ggufactory.storage.checksum import checksum_object
from ggufactory.storage.protocol import ObjectInfo


def _make_span(
    work: SpanWork, device: tuple[str, float], headers: list[str], importance: list[str], *blobs: Any
) -> SpanReceipt | None:
    """`device`: the request and the share of a GPU; `blobs`: the headers, then the importance arrays, fetched
    by Ray because they are arguments. None: the run is being stopped."""
    if stopping.is_asked():
        return None
    count = len(headers)
    receipt = make_span(
        work,
        dict(zip(headers, blobs[:count], strict=True)),
        dict(zip(importance, blobs[count:], strict=True)),
        device=backend_of_worker(*device),
    )
    return replace(receipt, retries=_attempts_before())


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
    device: str = "auto",
) -> dict[str, GgufactoryError]:
    """Make every missing part of `plan` on `device`; the spans that failed, by name.

    InputError for a device that the cluster does not have.
    """
    importance = put_all(_importance(plan))
    share = gpu_share(session, device)
    # A worker lives on after its task: its GPU's context and kernels take seconds to make.
    keep = ray.remote(max_calls=0)(_make_span)
    task = keep.options(**options("quantize", memory=plan.worker_bytes, gpus=share))

    def calls() -> Iterator[tuple[str, Call]]:
        for work in missing_spans(plan, progress, target):
            begun = {part.upload.name for part in work.parts if part.header_bytes}
            files = [(rung, file) for rung in plan.rungs for file in rung.files if file.name in begun]
            headers = put_all({file.name: plan.header(rung, file) for rung, file in files})
            weighed = sorted({p.tensor for p in work.pieces} & importance.keys())
            blobs = [*headers.values(), *(importance[name] for name in weighed)]
            yield f"span {work.index}", bind(task, work, (device, share), list(headers), weighed, *blobs)

    return run_all(session, calls(), plan.worker_bytes, on_receipt, waiter, on_failure=on_failure)


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
