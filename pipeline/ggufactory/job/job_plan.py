"""The plan of a job: everything that can be decided from headers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import ggufactory_kernels as gk
from ggufactory.architectures import ConversionOptions, describe, read_metadata
from ggufactory.architectures.source_card import source_card
from ggufactory.calibrate.imatrix import read_importance_matrices
from ggufactory.checkpoint import Checkpoint, GgufCheckpoint, open_source
from ggufactory.errors import InputError
from ggufactory.job import job_calibration, job_evaluation
from ggufactory.job.job_spec import JobSpec
from ggufactory.plan import plan as planning
from ggufactory.plan.plan import Plan
from ggufactory.plan.provenance import Provenance
from ggufactory.storage.protocol import PartLimits, Store

NO_LIMITS = PartLimits(min_part_bytes=1, max_part_bytes=1 << 62, max_parts=1 << 30)
"""Of a plan that is only printed."""


def make_plan(spec: JobSpec, target: Store | None = None) -> Plan:
    """Everything that can be decided from headers; InputError with all faults together.

    The importance matrix of a calibration that is yet to be run is promised, and the plan's fingerprint provisional.
    """
    checkpoint = open_source(spec.source)
    model = describe(checkpoint, _conversion(spec))
    name = spec.name or checkpoint.name
    importance = read_importance_matrices(spec.imatrix) if spec.imatrix else None
    if spec.calibration is not None:
        importance = job_calibration.importance_of(spec, name, target)
    plan = planning.make(
        model,
        spec.ladder,
        name=name,
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
        provenance=_provenance(checkpoint),
    )
    if target:
        _check_apart(checkpoint, target, plan)
    if spec.evaluation is not None:
        plan = replace(plan, notes=(*plan.notes, job_evaluation.announce(spec, [rung.name for rung in plan.rungs])))
    return plan


def _conversion(spec: JobSpec) -> ConversionOptions:
    metadata = read_metadata(spec.metadata_file) if spec.metadata_file else {}
    return ConversionOptions(spec.exact_source, spec.pre_tokenizer, metadata)


def _provenance(checkpoint: Checkpoint | GgufCheckpoint) -> Provenance:
    read = checkpoint.read if isinstance(checkpoint, Checkpoint) else {}
    return Provenance(read, source_card(checkpoint))


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
