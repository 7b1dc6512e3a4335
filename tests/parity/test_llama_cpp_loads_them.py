"""llama.cpp itself loads what we made, generates from it, and sees the same model in split files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ggufactory.job import ladder_job
from ggufactory.job.job_spec import JobSpec
from silent_watcher import SilentWatcher

# In a process of its own: a file that llama.cpp does not like may end it. Its repacked kernels can
# crash on virtual machines that forbid AMX, hence no_extra_bufts.
_COMPLETE = """
import json, sys
import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_ctx, params.n_parallel, params.warmup, params.no_extra_bufts = 256, 1, False, True
params.cpuparams.n_threads = 1
request = {"prompt": "The function returns", "n_predict": 12, "temperature": 0, "n_probs": 5}
print(json.dumps(xllamacpp.Server(params).handle_completions(request)))
"""


def _complete(path: Path) -> tuple[str, Any]:
    """The greedy completion, and the probabilities of its tokens and of those beside them."""
    done = subprocess.run([sys.executable, "-c", _COMPLETE, path], capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout.splitlines()[-1])
    return answer["choices"][0]["text"], answer["choices"][0]["logprobs"]["content"]


@pytest.mark.cluster
@pytest.mark.usefixtures("local_ray")
def test_it_generates(tmp_path: Path, tinylm: str, tinylm_imatrix: str) -> None:
    ladder = ("F16", "Q8_0", "Q4_K_M", "Q3_K_M", "IQ4_XS", "IQ3_S", "IQ2_M", "Q5_1", "TQ2_0", "Q2_0")
    ladder_job.run(JobSpec(source=tinylm, to=str(tmp_path), ladder=ladder, imatrix=(tinylm_imatrix,)), SilentWatcher())
    texts = {rung: _complete(tmp_path / f"tinylm-{rung}.gguf")[0] for rung in ladder}
    assert all(text.strip() for text in texts.values()), texts
    assert texts["Q8_0"].split()[:2] == texts["F16"].split()[:2], texts


@pytest.mark.cluster
@pytest.mark.usefixtures("local_ray")
def test_split_files_are_the_same_model(tmp_path: Path, tinylm: str) -> None:
    spec = {"source": tinylm, "ladder": ("Q4_K_M",), "name": "m", "span_bytes": 200_000}
    ladder_job.run(JobSpec(to=str(tmp_path / "whole"), **spec), SilentWatcher())  # type: ignore[arg-type]
    ladder_job.run(JobSpec(to=str(tmp_path / "split"), split_bytes=700_000, **spec), SilentWatcher())  # type: ignore[arg-type]
    (first,) = (tmp_path / "split").glob("m-Q4_K_M-00001-of-*.gguf")
    assert _complete(first) == _complete(tmp_path / "whole" / "m-Q4_K_M.gguf")
