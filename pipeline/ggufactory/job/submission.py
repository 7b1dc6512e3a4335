"""Submitting a job to a cluster: planned here from headers, known there by its plan, carried out once."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ggufactory import __version__
from ggufactory.errors import InputError, UnavailableError
from ggufactory.job import job_evaluation
from ggufactory.job.job_file import load_job
from ggufactory.job.job_plan import make_plan
from ggufactory.job.job_spec import JobSpec
from ggufactory.job.ladder_job import already_made
from ggufactory.job.packed_job import JOB_FILE, pack_job
from ggufactory.plan.plan import Plan
from ggufactory.storage import open_store

if TYPE_CHECKING:
    from ggufactory.cluster.job_server import SubmittedJob

# `exec`: signals go to the job itself, and its exit code is not a shell's.
ENTRYPOINT = f"exec python -m ggufactory quantize --job {JOB_FILE}"

_FINGERPRINT_DIGITS = 32
_TARGET_DIGITS = 8
_ATTEMPTS = 5
"""How often another submitter may take the id that we chose."""

Say = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Submission:
    """A job file that is on its way: what is told of it, before and after."""

    job_file: str
    address: str
    shared_paths: bool
    """Paths of this machine mean the same on every node of the cluster."""
    wait: bool


def submit(submission: Submission, say: Say, write: Callable[[str], object]) -> int:
    """Run the job on the cluster, unless it is running or done; its exit code.

    `say` is told what happens, a line at a time; `write` gets the job's log as it grows. Without
    `wait`, 0 as soon as the cluster has the job. InputError for a job that cannot be made or that the
    cluster could not read, UnavailableError when the cluster cannot be reached or loses the job.
    """
    # Ray takes seconds to import, and a faulty job should say so at once.
    spec = _spec(submission.job_file)
    with tempfile.TemporaryDirectory(prefix="ggufactory-submit-") as folder:
        pack_job(submission.job_file, Path(folder), shared_paths=submission.shared_paths)
        target = open_store(spec.require_target())
        plan = make_plan(spec, target)
        from ggufactory.cluster.job_server import JobServer

        server = JobServer(submission.address)
        name = submission_name(plan, target.uri, job_evaluation.fingerprint_of(spec))
        for _ in range(_ATTEMPTS):
            attempt, last = latest_attempt(name, server.jobs())
            if last and not last.ended:
                say(f"{last.id} is {last.status.lower()} already: it is not submitted again")
                job_id = last.id
                break
            if last and last.status == "SUCCEEDED" and already_made(spec, target, plan):
                say(f"{last.id} has made it all: nothing to do")
                return 0
            job_id = name if attempt == 1 else f"{name}-{attempt}"
            if server.submit(job_id, ENTRYPOINT, Path(folder), _metadata(plan, target.uri)):
                say(f"submitted {job_id}")
                break
        else:
            raise UnavailableError(
                f"Ray at {server.address}: others keep submitting this job", fix="Start the same command again"
            )
    return _outcome(server.follow(job_id, write)) if submission.wait else 0


def submission_name(plan: Plan, target: str, evaluation: str = "") -> str:
    """Of a plan for a target, the same wherever it is submitted from. `evaluation`: fingerprint of how its rungs are
    evaluated, if they are."""
    place = hashlib.sha256((target + evaluation).encode()).hexdigest()
    return f"ggufactory-{plan.fingerprint[:_FINGERPRINT_DIGITS]}-{place[:_TARGET_DIGITS]}"


def latest_attempt(name: str, jobs: Mapping[str, SubmittedJob]) -> tuple[int, SubmittedJob | None]:
    """The number of the next attempt, and the one before it, if there was any.

    The first attempt is called `name`, the second `name`-2: Ray takes an id only once.
    """
    last, number = None, 1
    while (found := jobs.get(name if number == 1 else f"{name}-{number}")) is not None:
        last, number = found, number + 1
    return number, last


def _spec(path: str) -> JobSpec:
    asked = load_job(path)
    if "source" not in asked:
        raise InputError(f"job file {path}: no source", fix="Name a checkpoint: source: s3://bucket/model")
    return JobSpec(**{"ladder": (), **asked})


def _metadata(plan: Plan, target: str) -> dict[str, str]:
    """What the dashboard shows of the job."""
    return {
        "model": plan.name,
        "ladder": ",".join(rung.name for rung in plan.rungs),
        "fingerprint": plan.fingerprint,
        "target": target,
        "ggufactory": __version__,
    }


def _outcome(job: SubmittedJob) -> int:
    """The job's exit code, as a shell would have it."""
    if job.exit_code is None and job.status == "STOPPED":
        return 143
    if job.exit_code is None:
        raise UnavailableError(f"{job.id} was lost: {' '.join(job.message.split())}", fix="The same command resumes it")
    return job.exit_code if job.exit_code >= 0 else 128 - job.exit_code
