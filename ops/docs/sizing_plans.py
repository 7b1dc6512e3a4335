"""Plan the ladders of docs/sizing.md, and write what the page needs of them into sizing_plans.json.

A minute of planning, so it is apart from the page. Real plans, of checkpoints with the published models' headers
and no weights, for S3's limits of parts and with an importance matrix.

python ops/docs/sizing_plans.py && python ops/docs/sizing.py
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ggufactory.calibrate.settings import CalibrationSettings
from ggufactory.job.job_plan import make_plan
from ggufactory.job.job_spec import JobSpec
from ggufactory.plan.plan import Plan
from ggufactory.plan.processor_time import processor_seconds
from ggufactory.storage.folder import FolderStore
from ggufactory.storage.protocol import PartLimits

sys.path.append(str(Path(__file__).parents[2] / "tests"))

from synthetic import LLAMA_8B, LLAMA_70B, LLAMA_405B, write_headers_only_llama31
from synthetic_deepseek import write_headers_only_deepseek_v3

PLANS = Path(__file__).with_suffix(".json")
MODELS: dict[str, Callable[[Path], None]] = {
    "Llama 3.1 8B": partial(write_headers_only_llama31, shape=LLAMA_8B, shards=4),
    "Llama 3.1 70B": partial(write_headers_only_llama31, shape=LLAMA_70B, shards=30),
    "Llama 3.1 405B": partial(write_headers_only_llama31, shape=LLAMA_405B, shards=191),
    "DeepSeek V3 671B": write_headers_only_deepseek_v3,
}
LADDERS = ("bartowski", "imatrix-small", "classic")


class _LikeS3(FolderStore):
    """A target with the limits of S3 that needs no server."""

    @property
    def limits(self) -> PartLimits:
        return PartLimits(min_part_bytes=5 << 20, max_part_bytes=5 << 30, max_parts=10_000)


def plans_of(model: str, ladders: Sequence[str] = LADDERS) -> dict[str, Any]:
    """What the page needs of each of the ladders, of one model."""
    with tempfile.TemporaryDirectory() as name:
        source, text = Path(name) / "model", Path(name) / "text.txt"
        MODELS[model](source)
        text.write_text("Only the promise of an importance matrix is needed. " * 1000, encoding="utf-8")
        calibration = CalibrationSettings(texts=(str(text),))
        target = _LikeS3(Path(name) / "out")
        return {
            ladder: _facts(make_plan(JobSpec(source=str(source), ladder=(ladder,), calibration=calibration), target))
            for ladder in ladders
        }


def _facts(plan: Plan) -> dict[str, int]:
    return {
        "weights": plan.elements,
        "weights_of_a_token": _weights_of_a_token(plan),
        "largest_layer_weights": max(_layers(plan).values()),
        "source_bytes": sum(info.size for info in plan.sources.values()),
        "rungs": len(plan.rungs),
        "written_bytes": sum(rung.bytes for rung in plan.rungs),
        "largest_file_bytes": max(file.size for file in plan.files.values()),
        "spans": len(plan.spans),
        "parts": sum(file.parts for file in plan.files.values()),
        "worker_bytes": plan.worker_bytes,
        "processor_seconds": round(processor_seconds(plan)),
    }


def _weights_of_a_token(plan: Plan) -> int:
    """What one token is multiplied with: of experts, those that it goes to; of the embeddings, nothing."""
    keys = {kv.key: kv.value for kv in plan.rungs[0].metadata}
    used, experts = (keys.get(f"{plan.architecture}.expert_{what}", 1) for what in ("used_count", "count"))
    assert isinstance(used, int)
    assert isinstance(experts, int)
    total = 0
    for tensor in plan.tensors:
        if tensor.name != "token_embd.weight":
            weights = tensor.rows * tensor.columns
            total += weights * used // experts if "_exps." in tensor.name else weights
    return total


def _layers(plan: Plan) -> Counter[str]:
    """The weights of each layer."""
    found: Counter[str] = Counter()
    for tensor in plan.tensors:
        if tensor.name.startswith("blk."):
            found[tensor.name.split(".")[1]] += tensor.rows * tensor.columns
    return found


if __name__ == "__main__":
    PLANS.write_text(json.dumps({model: plans_of(model) for model in MODELS}, indent=1) + "\n", encoding="utf-8")
