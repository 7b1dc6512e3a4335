"""Checkpoints whose weights are packed: what is kept as it is predicts what the source does."""

from __future__ import annotations

from pathlib import Path

import pytest

from converted_rows import DATA, conversion
from ggufactory.job.evaluation_job import evaluate
from ggufactory.job.evaluation_spec import EvaluationSpec
from ggufactory.job.job_spec import JobSpec
from ggufactory.job.ladder_job import run
from ggufactory.observe.calibration_log import CalibrationLog
from silent_watcher import SilentWatcher
from small_checkpoints import write_checkpoint


@pytest.mark.cluster
@pytest.mark.parametrize("name", ["llama_nvfp4", "qwen3_moe_nvfp4"])
def test_nvfp4_is_the_source(name: str, tmp_path: Path, local_ray: str) -> None:
    """With the numbers that multiply each matrix as a whole, which the file keeps apart."""
    source, to = write_checkpoint(name, tmp_path), tmp_path / "out"
    told = conversion(name).pre_tokenizer
    job = JobSpec(source=str(source), to=str(to), name="x", ladder=("F16",), pre_tokenizer=told, allow_requantize=True)
    run(job, SilentWatcher())
    spec = EvaluationSpec(
        places=(str(to),),
        source=str(source),
        texts=(str(DATA.parent / "imatrix" / "families" / "calibration.txt"),),
        context=64,
        chunks=2,
        pre_tokenizer=told,
    )
    found = evaluate(spec, CalibrationLog()).rungs["F16"]
    assert found.kld_max < 1e-6
    assert found.same_top == 1
