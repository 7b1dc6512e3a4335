"""A job: from a source, a ladder and a target to finished artifacts. The main flow of the product."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from ggufactory import __version__, interrupts
from ggufactory.assemble import uploads
from ggufactory.assemble.error_sums import ErrorSums
from ggufactory.cluster.descriptor import ChecksumReceipt, SpanReceipt
from ggufactory.cluster.devices import check_here, gpu_share
from ggufactory.cluster.shared_session import SharedSession
from ggufactory.errors import (
    GgufactoryError,
    IncompleteError,
    InputError,
    SourceChangedError,
    UnavailableError,
    UploadGoneError,
)
from ggufactory.job import job_calibration, job_evaluation
from ggufactory.job.evaluation_job import Evaluated
from ggufactory.job.job_plan import make_plan
from ggufactory.job.job_spec import JobSpec
from ggufactory.plan.importance import shown
from ggufactory.plan.plan import Plan
from ggufactory.plan.progress import Progress
from ggufactory.publish import manifest
from ggufactory.publish.header import CardHeader, read_header
from ggufactory.publish.imatrix_entry import list_matrix
from ggufactory.publish.release import is_released, release
from ggufactory.publish.signing import Signer
from ggufactory.storage import open_store
from ggufactory.storage.checksum import Checksum
from ggufactory.storage.protocol import ObjectInfo, Store

if TYPE_CHECKING:
    from ggufactory.cluster.session import Session

_ATTEMPTS = 4
"""How often a job looks again after another run of the same plan took its uploads away."""

_FAILURES_SHOWN = 10


class Watcher(job_calibration.Watcher, job_evaluation.Watcher, Protocol):
    """Who is told how the job goes: the terminal, a log, a test."""

    def planned(self, plan: Plan, spans_left: int) -> None:
        """Once the plan is made and the store has been asked what is there."""

    def joined(self, session: Session, gpu_share: float) -> None:
        """A Ray is there, and the spans are about to be submitted, each for that part of a GPU; 0: for CPUs alone."""

    def span_done(self, receipt: SpanReceipt) -> None: ...

    def span_failed(self, name: str, error: GgufactoryError) -> None:
        """For good; the others go on."""

    def checksummed(self, receipt: ChecksumReceipt) -> None:
        """A finished file was read back."""

    def stage(self, name: str, total: int) -> None:
        """A stage after the spans begins: `total` files."""

    def file_done(self, name: str) -> None: ...

    def tick(self) -> None:
        """About every second while the job waits."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a job ended with."""

    plan: Plan
    entries: tuple[manifest.Entry, ...]
    """The manifest's entries of the whole ladder, in rung order."""
    made: bool
    """False when no file had to be made."""
    evaluated: Evaluated | None = None
    """What this run found of rungs that had yet to be evaluated."""


def run(spec: JobSpec, watcher: Watcher, session: SharedSession | None = None) -> Result:
    """Make what the job asks for and is not there yet, on `session` or on a Ray of its own.

    IncompleteError when spans failed: what is done stays, and the same job resumes it.
    SourceChangedError when the source was replaced: nothing of this plan stays behind.
    """
    # Of the job's calibration and evaluation, too: on a cluster, its workers hold the model and not the driver.
    address = session.address if session else spec.ray_address
    spec = replace(spec, ray_address=address or os.environ.get("RAY_ADDRESS"))
    if not spec.ray_address:
        check_here(spec.device)
    target = open_store(spec.require_target())
    beside = _Beside.of(spec)
    plan = make_plan(spec, target)
    if _is_promised(plan):
        target.check_writable()
        job_calibration.make_matrix(spec, plan.name, target, watcher)
        plan = make_plan(spec, target)
        if _is_promised(plan):
            raise UnavailableError(f"{target.uri}: another job replaced the importance matrix, or the source changed")
    with (
        nullcontext(session)
        if session or not spec.ray_address
        else SharedSession(spec.ray_address, spec.workers, dashboard=spec.dashboard) as shared
    ):
        result = _carry_out(spec, target, plan, beside, watcher, shared)
        return _evaluate_missing(spec, target, result, beside.signer, watcher, shared)


def already_made(spec: JobSpec, target: Store, plan: Plan) -> Result | None:
    """What `run` would end with if it found nothing to do; None otherwise. Reads a few small objects,
    writes nothing."""
    listed, _ = manifest.read(target)
    present = {info.name: info for info in target.list()}
    for file in plan.files.values():
        info = present.get(file.name)
        if info is None or info.size != file.size or not manifest.is_current(listed.get(file.name), file, info):
            return None
    # A state is that of a run that was killed before it could remove it.
    if uploads.is_begun(target, plan) or not is_released(target) or job_evaluation.unevaluated(spec, plan, target):
        return None
    return Result(plan, _ladder_entries(plan, listed), made=False)


@dataclass(frozen=True, slots=True)
class _Beside:
    """What a job brings for what lies beside its artifacts."""

    signer: Signer | None
    header: CardHeader | None

    @staticmethod
    def of(spec: JobSpec) -> _Beside:
        """Before the work: a key or a header that cannot be used must not be found out at its end."""
        return _Beside(
            Signer.load(spec.sign_key) if spec.sign_key else None, read_header(spec.card) if spec.card else None
        )


def _is_promised(plan: Plan) -> bool:
    return plan.importance is not None and bool(plan.importance.promise)


def _carry_out(
    spec: JobSpec,
    target: Store,
    plan: Plan,
    beside: _Beside,
    watcher: Watcher,
    session: SharedSession | None = None,
) -> Result:
    result = _make_missing(spec, target, plan, watcher, session)
    if spec.calibration is not None:
        list_matrix(target, plan)
    if beside.header is not None:
        manifest.merge(target, {}, beside.header)
    release(target, beside.signer, watcher.warn)
    return result


def _evaluate_missing(
    spec: JobSpec,
    target: Store,
    result: Result,
    signer: Signer | None,
    watcher: Watcher,
    shared: SharedSession | None,
) -> Result:
    rungs = job_evaluation.unevaluated(spec, result.plan, target)
    if not rungs:
        return result
    # A cluster is used as for spans: where the evaluation ends early, what it left in Ray's queues ends with it.
    with shared.use(0, _shown_in_ray(result.plan)) if shared and spec.ray_address else nullcontext() as session:
        if session and not result.made:
            watcher.joined(session, gpu_share=0.0)
        evaluated = job_evaluation.evaluate_rungs(spec, rungs, result.plan, target, signer, watcher)
    return replace(result, evaluated=evaluated)


def _make_missing(spec: JobSpec, target: Store, plan: Plan, watcher: Watcher, session: SharedSession | None) -> Result:
    for _ in range(_ATTEMPTS):
        listed, _ = manifest.read(target)
        progress = uploads.begin(target, plan)
        if not progress.uploads and not _unlisted(plan, progress, listed):
            uploads.end(target, plan)
            return Result(plan, _ladder_entries(plan, listed), made=False)
        try:
            with (
                nullcontext(session)
                if session
                else SharedSession(spec.ray_address, spec.workers, dashboard=spec.dashboard) as shared
            ):
                _make(target, plan, progress, watcher, shared, spec.device)
        except UploadGoneError:
            continue
        except InputError as error:
            # Of anything but a source that was replaced, the same plan may still get over.
            if isinstance(error, SourceChangedError) or len(progress.finished) == len(plan.files):
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
    beside = _Beside.of(spec)
    plan = make_plan(spec, target)
    if _is_promised(plan):
        raise InputError(
            f"{target.uri} does not hold the importance matrix of this job",
            fix="Make the files first, with `ggufactory quantize`",
        )
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
    return _carry_out(spec, target, plan, beside, watcher)


def _make(target: Store, plan: Plan, progress: Progress, watcher: Watcher, shared: SharedSession, device: str) -> None:
    """Spans, then completion, then checksums, then the manifest."""
    # Ray takes seconds to import: not for a plan that is only printed, nor when nothing is left to do.
    from ggufactory.cluster import tasks
    from ggufactory.cluster.work import count_missing

    def stored(receipt: SpanReceipt) -> None:
        for name, part in receipt.parts:
            progress.parts[name][part.number] = part
        errors.add(receipt.index, receipt.errors)
        backends.add(receipt.backend)
        watcher.span_done(receipt)

    def checked(receipt: ChecksumReceipt) -> None:
        _compare(target, progress.finished[receipt.name], receipt.checksum)
        checksums[receipt.name] = receipt.checksum
        watcher.checksummed(receipt)
        watcher.file_done(receipt.name)

    checksums: dict[str, Checksum] = {}
    backends: set[str] = set()
    errors = ErrorSums.resume(target, plan, progress.uploads.keys())
    progress.measured = errors.spans
    watcher.planned(plan, count_missing(plan, progress))
    with shared.use(tasks.shared_bytes(plan), _shown_in_ray(plan)) as session:
        with interrupts.held():
            share = gpu_share(session, device)
            watcher.joined(session, share)
        with errors.kept():
            failed = tasks.quantize(
                session, plan, progress, target.uri, stored, watcher.span_failed, watcher, (device, share)
            )
        uploads.park(target, plan, {name: str(error) for name, error in failed.items()})
        _raise_failed(failed)
        for file in plan.files.values():
            if file.name not in progress.finished:
                progress.finished[file.name] = uploads.complete(target, file, progress)
        listed = manifest.read(target)[0]
        unlisted = _unlisted(plan, progress, listed)
        watcher.stage("checksum", len(unlisted))
        _raise_failed(tasks.checksum(session, unlisted, target.uri, checked, watcher))
    lost = errors.of_files(listed)
    manifest.merge(target, manifest.entries_of(plan, progress.finished, checksums, sorted(backends), lost))


def _shown_in_ray(plan: Plan) -> dict[str, str]:
    """What Ray's dashboard says of the job. Everyone who can open it reads this."""
    return {
        "job_name": f"ggufactory {plan.name}",
        "model": plan.name,
        "ladder": ",".join(rung.name for rung in plan.rungs),
        "fingerprint": plan.fingerprint,
        "ggufactory": __version__,
    }


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
