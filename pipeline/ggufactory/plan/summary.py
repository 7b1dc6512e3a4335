"""The plan as JSON, for scripts and other projects."""

from __future__ import annotations

from typing import Any

from ggufactory.plan.plan import Plan
from ggufactory.plan.processor_time import processor_seconds


def as_json(plan: Plan) -> dict[str, Any]:
    """One object: every file with its exact size and parts, every tensor with its type on each rung."""
    return {
        "fingerprint": plan.fingerprint,
        "source": plan.source,
        "rungs": [
            {
                "rung": rung.name,
                "bytes": rung.bytes,
                "bits_per_weight": round(rung.bits_per_weight, 4),
                "tensors": {t.name: rung.decisions[t.name].type for t in plan.tensors},
                "files": [{"name": f.name, "bytes": f.size, "parts": f.parts} for f in rung.files],
            }
            for rung in plan.rungs
        ],
        "spans": len(plan.spans),
        "worker_bytes": plan.worker_bytes,
        "device_bytes": plan.device_bytes,
        "processor_seconds": round(processor_seconds(plan)),
        "notes": list(plan.notes),
    }
