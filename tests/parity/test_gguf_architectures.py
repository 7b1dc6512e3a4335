"""GGUF sources of many architectures and types: every file type's file is llama-quantize's."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from gguf_files import write_gguf
from ggufactory.assemble import uploads
from ggufactory.cluster.span_pipeline import make_span
from ggufactory.cluster.work import missing_spans
from ggufactory.errors import PlanError
from ggufactory.job import ladder_job
from ggufactory.job.job_spec import JobSpec
from ggufactory.plan.plan import Plan
from ggufactory.storage import open_store
from small_gguf_files import SOURCES, write_importance

RECORDED = json.loads((Path(__file__).parents[1] / "data" / "gguf_sources.json").read_text())


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _plan(spec: JobSpec) -> Plan | str:
    try:
        return ladder_job.make_plan(spec, open_store(spec.require_target()))
    except PlanError as error:
        return str(error)


def _make(plan: Plan, target: Path) -> str:
    """SHA-256 of the one file of `plan`, made span by span in this process."""
    store = open_store(str(target))
    progress = uploads.begin(store, plan)
    (file,) = plan.files.values()
    importance = plan.importance
    weights = {} if importance is None else {name: _importance_of(plan, name) for name in importance.entries}
    for work in missing_spans(plan, progress, str(target)):
        begun = {file.name: plan.header(plan.rungs[0], file)} if any(p.header_bytes for p in work.parts) else {}
        for name, part in make_span(work, begun, weights).parts:
            progress.parts[name][part.number] = part
    uploads.complete(store, file, progress)
    return _sha256(target / file.name)


def _importance_of(plan: Plan, name: str) -> npt.NDArray[np.float32]:
    tensor = next(t for t in plan.tensors if t.name == name)
    assert plan.importance is not None
    values = plan.importance.for_tensor(name, tensor.rows // tensor.rows_per_matrix, tensor.columns)
    assert values is not None
    return values


@pytest.mark.parametrize(("name", "case"), [(n, c) for n in SOURCES for c in ("plain", "imatrix") if RECORDED[n][c]])
def test_every_file_type(tmp_path: Path, name: str, case: str) -> None:
    recorded = RECORDED[name]
    contents = SOURCES[name]()
    source = write_gguf(tmp_path / f"{name}.gguf", contents.metadata, contents.tensors)
    importance = write_importance(contents, tmp_path / "importance.gguf")
    assert (_sha256(source), _sha256(importance)) == (recorded["source"], recorded["importance"])
    imatrix = (str(importance),) if case == "imatrix" else ()
    for rung, expected in recorded[case].items():
        target = tmp_path / rung
        spec = JobSpec(
            source=str(source),
            ladder=(rung,),
            to=str(target),
            imatrix=imatrix,
            allow_requantize=True,
            span_bytes=300_000,
        )
        plan = _plan(spec)
        if isinstance(plan, str):
            assert expected is None, f"{rung}: {plan}"
        else:
            assert _make(plan, target) == expected, rung
