"""Memory on a checkpoint of more than 1 GB: a worker keeps to the plan, the driver does not grow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ggufactory.architectures import describe
from ggufactory.checkpoint import open_checkpoint
from synthetic import write_llama_checkpoint

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

MIB = 1 << 20

_JOB = """
import json, sys
from ggufactory.job import ladder_job
from ggufactory.job.job_spec import JobSpec
from silent_watcher import SilentWatcher

watcher = SilentWatcher()
ladder = ("Q8_0", "Q6_K", "Q4_K_M", "F16")
result = ladder_job.run(JobSpec(source=sys.argv[1], to=sys.argv[2], ladder=ladder, workers=2), watcher)
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
print(json.dumps({
    "planned": result.plan.worker_bytes,
    "worker": max(r.peak_rss for r in watcher.receipts),
    "driver": int(status["VmHWM"].split()[0]) * 1024,
    "read": sum(r.bytes_read for r in watcher.receipts),
}))
"""


def _run(source: Path, target: Path) -> dict[str, Any]:
    tests = Path(__file__).parents[1]
    code = f"import sys; sys.path.insert(0, {str(tests)!r})\n{_JOB}"
    done = subprocess.run([sys.executable, "-c", code, source, target], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_within_the_plan(tmp_path: Path, tinylm: str) -> None:
    source = tmp_path / "model"
    write_llama_checkpoint(
        source, layers=8, hidden=2048, intermediate=8192, heads=16, kv_heads=4, vocab=16384, shards=3
    )
    assert sum(path.stat().st_size for path in source.glob("*.safetensors")) > 10**9
    for folder in (Path(tinylm), source):
        describe(open_checkpoint(str(folder)))  # what transformers says of a config is kept: neither run loads it
    small = _run(Path(tinylm), tmp_path / "small")
    large = _run(source, tmp_path / "large")
    assert large["read"] > 10**9
    assert large["worker"] <= large["planned"]
    # The plan is no wild guess either: it would keep workers from a node that could run them.
    assert large["planned"] < 2 * large["worker"]
    assert large["driver"] - small["driver"] < 48 * MIB
