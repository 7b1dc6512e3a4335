"""What a job's events become, metric by metric, without a job."""

from __future__ import annotations

import pytest

from ggufactory.architectures import describe
from ggufactory.checkpoint import open_checkpoint
from ggufactory.cluster.descriptor import ChecksumReceipt, Quantized, SpanReceipt
from ggufactory.cluster.session import Session
from ggufactory.errors import GgufactoryError
from ggufactory.job.job_plan import NO_LIMITS
from ggufactory.metrics import LIVE, Metric
from ggufactory.observe.job_meter import JobMeter
from ggufactory.observe.outcome import Run
from ggufactory.plan import plan as planning
from ggufactory.plan.device_memory import task_bytes
from ggufactory.plan.plan import Plan
from ggufactory.storage.checksum import Checksum
from ggufactory.storage.protocol import Part
from silent_watcher import SilentWatcher


class Recorded:
    """The sum of a counter or a histogram, the value of a gauge; by name and labels without the model."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], float] = {}

    def record(self, metric: Metric, value: float, labels: dict[str, str]) -> None:
        assert metric in LIVE
        assert set(labels) == set(metric.labels)
        assert labels["model"] == "known as"
        key = (metric.name.removeprefix("ggufactory_"), *(v for k, v in labels.items() if k != "model"))
        self.values[key] = value if metric.kind == "gauge" else self.values.get(key, 0) + value


class TwoNodes(Session):
    def nodes(self) -> list[dict[str, float]]:
        return [{"CPU": 4.0, "memory": 3 * self.worker_bytes + 1}, {"CPU": 2.0, "memory": 100 * self.worker_bytes}]

    worker_bytes = 0


@pytest.fixture(scope="module")
def plan(tinylm: str) -> Plan:
    checkpoint = open_checkpoint(tinylm)
    return planning.make(
        describe(checkpoint),
        ("Q8_0", "Q4_K_M"),
        name="m",
        source=tinylm,
        files=checkpoint.files,
        limits=NO_LIMITS,
        quantizable=frozenset({"Q8_0", "Q6_K", "Q4_K"}),
        span_bytes=200_000,
    )


def _receipt(index: int, retries: int = 0) -> SpanReceipt:
    return SpanReceipt(
        index=index,
        parts=(("m-Q8_0.gguf", Part(index + 1, 70, "", None)), ("m-Q4_K_M.gguf", Part(index + 1, 30, "", None))),
        bytes_read=200,
        bytes_written=100,
        quantizations=2,
        peak_rss=1,
        seconds=2.0,
        cpu_seconds=1.0,
        backend="cpu x",
        stages={"read": 0.5, "quantize": 1.5},
        quantized={"Q4_K": Quantized(1000, 0.25), "Q8_0": Quantized(1000, 0.125)},
        retries=retries,
    )


def test_a_job(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TwoNodes, "worker_bytes", plan.worker_bytes)
    shown, run, sink = SilentWatcher(), Run("quantize", "known as"), Recorded()
    total, left = len(plan.spans), 8
    with JobMeter(shown, run, [sink]) as meter:
        meter.calibrated(1, 4, "layers")
        meter.planned(plan, left)
        assert sink.values["spans_done_total",] == 0
        assert sink.values["parts_uploaded_total", "Q8_0"] == 0
        assert sink.values["spans",] == total
        meter.joined(TwoNodes(embedded=False), 0.0)
        assert sink.values["task_slots",] == 5  # three by memory on one node, two by CPUs on the other
        assert sink.values["spans_queued",] == 3
        assert ("eta_seconds",) not in sink.values  # nothing was measured yet
        meter.span_done(_receipt(0))
        meter.span_done(_receipt(1, retries=2))
        meter.span_failed("span 2", GgufactoryError("poison"))
        meter.checksummed(ChecksumReceipt("m-Q8_0.gguf", Checksum(0, ""), 4.0))
        assert sink.values["spans_left",] == 5
        assert sink.values["spans_queued",] == 0
        assert sink.values["eta_seconds",] > 0
        assert sink.values["device_busy_ratio",] > 0
        meter.evaluated(3, 14)
        meter.evaluated(14, 14)
    expected = {
        ("spans_done_total",): 2,
        ("spans_retried_total",): 2,
        ("spans_failed_total",): 1,
        ("source_read_bytes_total",): 400,
        ("parts_uploaded_total", "Q8_0"): 2,
        ("uploaded_bytes_total", "Q8_0"): 140,
        ("uploaded_bytes_total", "Q4_K_M"): 60,
        ("weights_quantized_total", "Q4_K"): 2000,
        ("quantize_seconds_total", "Q8_0"): 0.25,
        ("stage_busy_seconds_total", "read"): 1.0,
        ("stage_seconds", "quantize"): 3.0,
        ("stage_busy_seconds_total", "checksum"): 4.0,
        ("stage_busy_seconds_total", "upload"): 0,
        ("model_steps", "calibrate"): 4,
        ("model_steps_done", "calibrate"): 1,
        ("model_steps", "evaluate"): 14,
        ("model_steps_done", "evaluate"): 14,
        ("spans_left",): 0,
        ("spans_queued",): 0,
        ("eta_seconds",): 0,
    }
    assert {key: sink.values[key] for key in expected} == expected
    assert (run.read_bytes, run.uploaded_bytes, run.failed_spans) == (400, 200, 1)
    assert (shown.calibration, shown.evaluation) == ([(1, 4)], [(3, 14), (14, 14)])
    assert (len(shown.receipts), shown.failed, shown.spans_left) == (2, ["span 2"], left)


def test_slots_of_gpus_are_counted_by_what_a_task_takes_of_them(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four by one GPU, none where there is no GPU, one where a task on a GPU takes more memory than another."""
    memory = task_bytes(plan.worker_bytes, 0.25)
    assert memory > plan.worker_bytes
    nodes = [
        {"CPU": 64.0, "memory": 100.0 * memory, "GPU": 1.0},
        {"CPU": 64.0, "memory": 100.0 * memory},
        {"CPU": 64.0, "memory": 2.0 * memory - 1, "GPU": 8.0},
    ]
    monkeypatch.setattr(Session, "nodes", lambda _: nodes)
    sink = Recorded()
    with JobMeter(SilentWatcher(), Run("quantize", "known as"), [sink]) as meter:
        meter.planned(plan, 8)
        meter.joined(Session(embedded=False), 0.25)
        assert sink.values["task_slots",] == 4 + 1
        assert sink.values["spans_queued",] == 3


def test_a_job_that_plans_again_counts_on(plan: Plan) -> None:
    """Another run took its uploads away: what is left is counted anew, what was done was done."""
    sink = Recorded()
    with JobMeter(SilentWatcher(), Run("quantize", "known as"), [sink]) as meter:
        meter.planned(plan, 8)
        meter.span_done(_receipt(0))
        meter.planned(plan, 3)
        assert sink.values["spans_left",] == 3
        meter.span_done(_receipt(1))
        assert sink.values["spans_left",] == 2
        assert sink.values["spans_done_total",] == 2
