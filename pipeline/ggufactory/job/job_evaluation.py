"""The evaluation of a job's ladder, once it is all there: of those rungs alone that were not evaluated in this way.

The manifest tells which were: by a fingerprint of the texts, the settings and the rung's bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Protocol

from ggufactory import interrupts
from ggufactory.errors import GgufactoryError, InputError, UnavailableError
from ggufactory.job.evaluation_input import fingerprint, read_input, read_texts
from ggufactory.job.evaluation_job import Evaluated, evaluate
from ggufactory.job.evaluation_rungs import rungs_of, sums_of
from ggufactory.job.evaluation_spec import EvaluationSpec
from ggufactory.job.job_spec import JobSpec
from ggufactory.plan.plan import Plan
from ggufactory.publish.signing import Signer
from ggufactory.storage.protocol import Store

_FIELDS = ("context", "chunks", "compute_dtype", "hidden_bytes", "device", "activations")


class Watcher(Protocol):
    """Who is told how a job's evaluation goes."""

    def evaluated(self, done: int, total: int) -> None:
        """So many steps are done: each is a layer of a model, or the comparison of a rung with the source."""

    def tick(self) -> None: ...

    def warn(self, message: str) -> None: ...


def announce(job: JobSpec, rungs: Collection[str]) -> str:
    """What will be done once the `rungs` of the job are there. InputError for what cannot be evaluated."""
    settings = job.evaluation
    assert settings is not None
    if unknown := [rung for rung in settings.ladder if rung not in rungs]:
        raise InputError(
            f"evaluate: the job makes no {', '.join(unknown)}", fix=f"Choose among its rungs: {', '.join(rungs)}"
        )
    if job.prune_layers:
        raise InputError(
            "evaluate: a model without some of its layers is not the source's, and is not compared with it",
            fix="Leave out evaluate, or prune_layers",
        )
    spec = _spec(job, "")
    given = read_input(spec)
    chunks = len(given.cut(spec).chunks)
    texts = ", ".join(text.name for text in given.texts)
    which = ", ".join(settings.ladder) or "the rungs"
    return (
        f"{which} will be evaluated over {chunks} chunks of {spec.context} tokens of {texts}, where they were not yet"
    )


def unevaluated(job: JobSpec, plan: Plan, target: Store) -> tuple[str, ...]:
    """Of the job's rungs, whose files are all there, those that have yet to be evaluated."""
    settings = job.evaluation
    if settings is None:
        return ()
    spec = _spec(job, target.uri)
    texts = read_texts(spec)
    wanted = settings.ladder or tuple(rung.name for rung in plan.rungs)
    found = []
    for rung in rungs_of(target, target.uri, plan.name):
        told = rung.files[0].get("quality")
        is_known = isinstance(told, dict) and told.get("fingerprint") == fingerprint(spec, texts, sums_of(rung))
        if rung.rung in wanted and not is_known:
            found.append(rung.rung)
    return tuple(found)


def fingerprint_of(job: JobSpec) -> str:
    """Equal for jobs that evaluate rungs in the same way; empty for those that evaluate none."""
    if job.evaluation is None:
        return ""
    spec = _spec(job, "")
    return fingerprint(spec, read_texts(spec), job.evaluation.ladder)


def evaluate_rungs(
    job: JobSpec, rungs: tuple[str, ...], plan: Plan, target: Store, signer: Signer | None, watcher: Watcher
) -> Evaluated:
    """Compare the `rungs` with the source, and list the figures.

    What `evaluate` raises, with its exit code, but saying that the files are there all the same.
    """
    spec = _spec(job, target.uri, ladder=rungs, name=plan.name)
    try:
        found = evaluate(spec, _Progress(watcher), signer)
        if unevaluated(job, plan, target):
            raise UnavailableError("the figures were not listed", fix="The same command does it again")
    except GgufactoryError as error:
        error.message = f"{target.uri}: every file is there, but the evaluation failed: {error.message}"
        raise
    return found


def _spec(job: JobSpec, target: str, **of_rungs: Any) -> EvaluationSpec:
    settings = job.evaluation
    assert settings is not None
    given = {field: value for field in _FIELDS if (value := getattr(settings, field)) is not None}
    return EvaluationSpec(
        places=(target,),
        source=job.source,
        texts=settings.texts,
        pre_tokenizer=job.pre_tokenizer,
        ray_address=job.ray_address,
        replaces=True,
        **given,
        **of_rungs,
    )


class _Progress:
    """An evaluation's watcher that tells the job's."""

    def __init__(self, watcher: Watcher) -> None:
        self.tick: Callable[[], None] = watcher.tick
        self.warn: Callable[[str], None] = watcher.warn
        self._evaluated = watcher.evaluated

    def advanced(self, done: int, total: int) -> None:
        interrupts.check()  # a lease may have been lost in the meantime
        self._evaluated(done, total)

    def share_done(self, done: int, shares: int) -> None:
        """Steps are told."""
