"""A job: from a source, a ladder and a target to finished artifacts. The main flow of the product."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import ggufactory_kernels as gk
from ggufactory.architectures import ConversionOptions, describe, read_metadata
from ggufactory.assemble import uploads
from ggufactory.calibrate.imatrix import read_importance_matrices
from ggufactory.checkpoint import Checkpoint, GgufCheckpoint, open_source
from ggufactory.cluster.descriptor import SpanReceipt
from ggufactory.cluster.devices import check_here
from ggufactory.errors import GgufactoryError, IncompleteError, InputError, UnavailableError, UploadGoneError
from ggufactory.plan import plan as planning
from ggufactory.plan.importance import shown
from ggufactory.plan.plan import Plan
from ggufactory.plan.progress import Progress
from ggufactory.publish import manifest
from ggufactory.spec import JobSpec
from ggufactory.storage import open_store
from ggufactory.storage.checksum import Checksum
from ggufactory.storage.protocol import ObjectInfo, PartLimits, Store

NO_LIMITS = PartLimits(min_part_bytes=1, max_part_bytes=1 << 62, max_parts=1 << 30)
"""Of a plan that is only printed."""

_ATTEMPTS = 4
"""How often a job looks again after another run of the same plan took its uploads away."""

_FAILURES_SHOWN = 10


class Watcher(Protocol):
    """Who is told how the job goes: the terminal, a log, a test."""

    def planned(self, plan: Plan, spans_left: int) -> None:
        """Once the plan is made and the store has been asked what is there."""

    def span_done(self, receipt: SpanReceipt) -> None: ...

    def stage(self, name: str, total: int) -> None:
        """A stage after the spans begins: `total` files."""

    def file_done(self, name: str) -> None: ...

    def tick(self) -> None:
        """About every second while the job waits."""

    def warn(self, message: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Result:
    """What a job ended with."""

    plan: Plan
    entries: tuple[manifest.Entry, ...]
    """The manifest's entries of the whole ladder, in rung order."""
    made: bool
    """False when there was nothing to do."""


def make_plan(spec: JobSpec, target: Store | None = None) -> Plan:
    """Everything that can be decided from headers; InputError with all faults together."""
    checkpoint = open_source(spec.source)
    model = describe(checkpoint, _conversion(spec))
    importance = read_importance_matrices(spec.imatrix) if spec.imatrix else None
    plan = planning.make(
        model,
        spec.ladder,
        name=spec.name or checkpoint.name,
        source=checkpoint.store.uri,
        files=checkpoint.files,
        limits=target.limits if target else NO_LIMITS,
        importance_matrix=importance,
        quantizable=frozenset(kind for kind in gk.TENSOR_TYPES if gk.quantizable(kind)),
        allow_requantize=spec.allow_requantize,
        span_bytes=spec.span_bytes,
        options=spec.options,
        prune_layers=spec.prune_layers,
        split_bytes=spec.split_bytes,
        keep_split=_keeps_split(spec, checkpoint),
    )
    if target:
        _check_apart(checkpoint, target, plan)
    return plan


def _conversion(spec: JobSpec) -> ConversionOptions:
    metadata = read_metadata(spec.metadata_file) if spec.metadata_file else {}
    return ConversionOptions(spec.exact_source, spec.pre_tokenizer, metadata)


def _keeps_split(spec: JobSpec, checkpoint: Checkpoint | GgufCheckpoint) -> bool:
    if spec.keep_split and isinstance(checkpoint, Checkpoint):
        raise InputError(
            f"keep_split: {spec.source} is no GGUF file", fix="Split by size instead: --split-max-size 45G"
        )
    return spec.keep_split


def _check_apart(checkpoint: Checkpoint | GgufCheckpoint, target: Store, plan: Plan) -> None:
    """A file that is read must not be the one that is written."""
    taken = plan.files.keys() & plan.sources.keys()
    if taken and Path(checkpoint.store.uri).resolve() == Path(target.uri).resolve():
        raise InputError(
            f"{target.uri}: {', '.join(sorted(taken))} would replace the source",
            fix="Give another target or another --name",
        )


def run(spec: JobSpec, watcher: Watcher) -> Result:
    """Make what the job asks for and is not there yet.

    IncompleteError when spans failed: what is done stays, and the same job resumes it. InputError
    when the input is at fault: nothing of this plan stays behind.
    """
    if not (spec.ray_address or os.environ.get("RAY_ADDRESS")):
        check_here(spec.device)
    target = open_store(spec.require_target())
    return _carry_out(spec, target, make_plan(spec, target), watcher)


def _carry_out(spec: JobSpec, target: Store, plan: Plan, watcher: Watcher) -> Result:
    for _ in range(_ATTEMPTS):
        listed, _ = manifest.read(target)
        progress = uploads.begin(target, plan)
        if not progress.uploads and not _unlisted(plan, progress, listed):
            uploads.end(target, plan)
            return Result(plan, _ladder_entries(plan, listed), made=False)
        try:
            _make(spec, target, plan, progress, watcher)
        except UploadGoneError:
            continue
        except InputError:
            uploads.abandon(target, plan, progress)
            raise
        uploads.end(target, plan)
        return Result(plan, _ladder_entries(plan, manifest.read(target)[0]), made=True)
    raise UnavailableError(
        f"{target.uri}: the uploads of this job keep disappearing",
        fix="Look for a lifecycle rule or a clean-up that aborts them, then start again",
    )


def republish_headers(spec: JobSpec, watcher: Watcher) -> Result:
    """As `run`, when nothing but files of metadata alone has to be made; InputError otherwise.

    Nothing special happens here: a file's identity follows from its bytes, and those of split files
    that hold tensors hold no metadata, so a job that changes metadata finds them finished.
    """
    target = open_store(spec.require_target())
    plan = make_plan(spec, target)
    others = [
        name
        for name, file in plan.files.items()
        if not (file.with_metadata and file.tensors == (0, 0)) and not uploads.finished_object(target, file)
    ]
    if others:
        raise InputError(
            f"{target.uri}: {len(others)} files with tensors are not there or not as planned: {shown(others)}",
            fix="Only files that were split (--split-max-size) have their metadata apart: use `ggufactory quantize`",
        )
    return _carry_out(spec, target, plan, watcher)


def _make(spec: JobSpec, target: Store, plan: Plan, progress: Progress, watcher: Watcher) -> None:
    """Spans, then completion, then checksums, then the manifest."""
    # Ray takes seconds to import: not for a plan that is only printed, nor when nothing is left to do.
    from ggufactory.cluster import tasks
    from ggufactory.cluster.session import open_session
    from ggufactory.cluster.work import count_missing

    def stored(receipt: SpanReceipt) -> None:
        for name, part in receipt.parts:
            progress.parts[name][part.number] = part
        watcher.span_done(receipt)

    def checked(result: tuple[str, Checksum]) -> None:
        name, checksum = result
        _compare(target, progress.finished[name], checksum)
        checksums[name] = checksum
        watcher.file_done(name)

    checksums: dict[str, Checksum] = {}
    watcher.planned(plan, count_missing(plan, progress))
    with open_session(spec.ray_address, spec.workers, tasks.shared_bytes(plan)) as session:
        _raise_failed(tasks.quantize(session, plan, progress, target.uri, stored, watcher, spec.device))
        for file in plan.files.values():
            if file.name not in progress.finished:
                progress.finished[file.name] = uploads.complete(target, file, progress)
        unlisted = _unlisted(plan, progress, manifest.read(target)[0])
        watcher.stage("checksum", len(unlisted))
        _raise_failed(tasks.checksum(session, unlisted, target.uri, checked, watcher))
    manifest.merge(target, manifest.entries_of(plan, progress.finished, checksums))


def _unlisted(plan: Plan, progress: Progress, listed: Mapping[str, manifest.Entry]) -> list[ObjectInfo]:
    """Finished files that the manifest does not tell the truth about."""
    return [
        info
        for name, file in plan.files.items()
        if (info := progress.finished.get(name)) and not manifest.is_current(listed.get(name), file, info)
    ]


def _compare(target: Store, info: ObjectInfo, checksum: Checksum) -> None:
    """The store must give back what the workers sent."""
    if info.crc32 is not None and info.crc32 != checksum.crc32:
        raise GgufactoryError(
            f"{target.uri}/{info.name}: uploaded with CRC-32 {info.crc32:08x}, read back {checksum.crc32:08x}",
            fix="The store lost or changed data: delete the object, check the store, start again",
        )


def _raise_failed(failed: Mapping[str, GgufactoryError]) -> None:
    if not failed:
        return
    shown = [f"  {name}: {error}" for name, error in list(failed.items())[:_FAILURES_SHOWN]]
    more = len(failed) - len(shown)
    raise IncompleteError(
        f"{len(failed)} tasks failed:\n" + "\n".join(shown) + (f"\n  and {more} more" if more else ""),
        fix="What is done is kept: start the same command again to do the rest",
    )


def _ladder_entries(plan: Plan, listed: Mapping[str, manifest.Entry]) -> tuple[manifest.Entry, ...]:
    return tuple(listed[name] for name in plan.files)
