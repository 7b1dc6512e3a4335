"""Evaluations that end early, or are not what they were: what is said, and what the next one finds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from converted_rows import DATA
from ggufactory.calibrate.streamed_model import StreamedModel
from ggufactory.checkpoint import open_checkpoint
from ggufactory.cluster.evaluation import Rung, Work, _compare_share
from ggufactory.errors import GpuFailedError, InputError, SourceChangedError, UnavailableError
from ggufactory.evaluate import models
from ggufactory.evaluate.arithmetic import Arithmetic
from ggufactory.evaluate.models import Share
from ggufactory.evaluate.rung_file import RungFile
from ggufactory.job.evaluation_job import Evaluated, evaluate
from ggufactory.job.evaluation_spec import EvaluationSpec
from ggufactory.job.job_spec import JobSpec
from ggufactory.job.ladder_job import run
from ggufactory.observe.calibration_log import CalibrationLog
from ggufactory.publish import manifest
from ggufactory.storage import open_store
from silent_watcher import SilentWatcher

LADDER = ("Q8_0", "Q4_0")
IMATRIX = str(DATA.parent / "imatrix" / "tinylm-bf16.imatrix.gguf")


class Log(CalibrationLog):
    """Calls `act` once `at` steps are done, and keeps the warnings."""

    def __init__(self, at: int = -1, act: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.warnings: list[str] = []
        self.seen: list[tuple[int, int]] = []
        self._at, self._act = at, act

    def advanced(self, done: int, total: int) -> None:
        self.seen.append((done, total))
        if done == self._at:
            self._at = -1
            self._act()

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def _stop() -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tinylm: str, local_ray: str) -> Path:
    to = tmp_path_factory.mktemp("ladder") / "out"
    run(JobSpec(source=tinylm, to=str(to), ladder=LADDER, name="m", imatrix=(IMATRIX,)), SilentWatcher())
    return to


@pytest.fixture
def target(made: Path, tmp_path: Path) -> Path:
    """A copy, listed as it is there."""
    to = tmp_path / "out"
    shutil.copytree(made, to)
    store = open_store(str(to))
    tags = {info.name: info.etag for info in store.list()}
    told = json.loads((to / "manifest.json").read_bytes())
    for entry in told["artifacts"]:
        entry["etag"] = tags[entry["file"]]
    (to / "manifest.json").write_text(json.dumps(told))
    return to


def _spec(target: Path, source: str, **fields: Any) -> EvaluationSpec:
    asked: dict[str, Any] = {"texts": (f"{DATA}/../tinylm/evaluation.txt",), "context": 32, "chunks": 4} | fields
    return EvaluationSpec(places=(str(target),), source=source, **asked)


def _replace(file: Path) -> None:
    """By a file of the same size, as another job would."""
    other = file.with_suffix(".other")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    other.write_bytes(data)
    other.replace(file)


@pytest.mark.cluster
def test_an_artifact_that_is_replaced_while_it_is_read(target: Path, tinylm: str) -> None:
    with pytest.raises(SourceChangedError, match=r"m-Q4_0.gguf.*(changed|replaced)"):
        evaluate(_spec(target, tinylm), Log(2, lambda: _replace(target / "m-Q4_0.gguf")))


@pytest.mark.cluster
def test_a_worker_opens_the_file_that_the_driver_opened(target: Path, tinylm: str) -> None:
    spec = _spec(target, tinylm)
    uri = str(target / "m-Q4_0.gguf")
    rung = Rung("Q4_0", uri, RungFile("Q4_0", uri).identity)
    work = Work(source=tinylm, rungs=(rung,), arithmetic=spec.arithmetic, hidden_bytes=1, memory=1)
    _replace(target / "m-Q4_0.gguf")
    with pytest.raises(SourceChangedError, match=r"m-Q4_0.gguf was replaced while it was evaluated"):
        _compare_share(0, work, Share.__new__(Share), None)


@pytest.mark.cluster
def test_figures_of_a_rung_that_was_made_anew_are_not_listed(target: Path, tinylm: str) -> None:
    def listed_anew() -> None:
        store = open_store(str(target))
        entries = manifest.require(store).entries
        manifest.merge(store, {"m-Q4_0.gguf": {**entries["m-Q4_0.gguf"], "sha256": "0" * 64}})

    log = Log(14, listed_anew)
    evaluate(_spec(target, tinylm), log)
    assert log.warnings == [f"{target}: Q4_0 was made anew while it was evaluated: its figures are not listed"]
    entries = manifest.require(open_store(str(target))).entries
    assert {name for name, entry in entries.items() if "quality" in entry} == {"m-Q8_0.gguf"}


@pytest.mark.cluster
def test_an_artifact_that_is_listed_and_not_there(target: Path, tinylm: str) -> None:
    (target / "m-Q4_0.gguf").unlink()
    with pytest.raises(InputError, match=r"there is no file m-Q4_0.gguf"):
        evaluate(_spec(target, tinylm), Log())


@pytest.mark.cluster
def test_over_the_text_of_the_matrix(target: Path, tinylm: str) -> None:
    log = Log()
    evaluate(_spec(target, tinylm, texts=(f"{tinylm}/calibration.txt",)), log)
    assert log.warnings == [
        "rungs were made with an importance matrix of calibration.txt, too: over it their figures flatter them"
    ]


@pytest.mark.cluster
def test_too_little_memory(target: Path, tinylm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: Any) -> Any:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(StreamedModel, "run_layer", exhausted)
    with pytest.raises(UnavailableError, match=r"not enough memory for a layer .*--hidden-memory"):
        evaluate(_spec(target, tinylm), Log())


@pytest.mark.cluster
def test_a_gpu_that_fails(target: Path, tinylm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered\nand more")

    monkeypatch.setattr(StreamedModel, "run_layer", fails)
    told = r"^device cuda: CUDA error: uncorrectable ECC error encountered\. The same command resumes"
    with pytest.raises(GpuFailedError, match=told):
        evaluate(_spec(target, tinylm), Log())


@pytest.mark.cluster
def test_shares_that_a_cluster_began_are_finished_by_one_process(
    target: Path, tinylm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they were divided: nothing that was finished is done again."""
    spec = _spec(target, tinylm, context=1024, chunks=4)
    whole = _counted(spec, monkeypatch)

    class Stopped(Log):
        def share_done(self, done: int, shares: int) -> None:
            assert shares == 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(replace(spec, workers=2), Stopped())
    resumed = _counted(spec, monkeypatch)
    assert resumed[0] == whole[0]
    assert resumed[1] <= whole[1], "one of two shares, at most"


def _counted(spec: EvaluationSpec, monkeypatch: pytest.MonkeyPatch) -> tuple[Evaluated, int]:
    """The result, and how many layers were loaded."""
    loaded: list[int] = []
    layer = StreamedModel.layer

    def counted(self: StreamedModel, number: int) -> Any:
        loaded.append(number)
        return layer(self, number)

    with monkeypatch.context() as patched:
        patched.setattr(StreamedModel, "layer", counted)
        return evaluate(spec, Log()), len(loaded)


@pytest.mark.cluster
def test_a_ladder_in_the_folder_of_its_source(made: Path, tinylm: str, tmp_path: Path) -> None:
    """What is written there in the meantime is not the model's: the evaluation goes on."""
    source = tmp_path / "model"
    shutil.copytree(tinylm, source)
    shutil.copy(made / "m-Q4_0.gguf", source)
    spec = replace(_spec(target=source, source=str(source)), places=(str(source / "m-Q4_0.gguf"),))
    with pytest.raises(KeyboardInterrupt):
        evaluate(spec, Log(3, _stop))
    (source / "README.md").write_text("another card")
    log = Log()
    evaluate(spec, log)
    assert log.seen[0][0] + log.seen[1][0] >= 3


@pytest.mark.cluster
def test_the_device_reaches_the_models(target: Path, tinylm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU takes one group of chunks at a time."""
    asked: list[str] = []
    threads: list[int] = []

    def device_of(device: str) -> torch.device:
        asked.append(device)
        return torch.device("cpu")

    whole = models.evaluation_pass.run

    def counted(*arguments: Any, **named: Any) -> Any:
        threads.append(named["threads"])
        return whole(*arguments, **named)

    monkeypatch.setattr(models, "device_of", device_of)
    monkeypatch.setattr(models.evaluation_pass, "run", counted)
    evaluate(_spec(target, tinylm, device="cuda", chunks=2), Log())
    assert asked == ["cuda"]
    assert threads == [torch.get_num_threads()]
    monkeypatch.setattr(models, "device_of", lambda _: torch.device("meta"))
    file = RungFile("Q4_0", str(target / "m-Q4_0.gguf"))
    opened = models.Models(open_checkpoint(tinylm), [file], Arithmetic(device="cuda"))
    assert {model.device.type for model in (opened._source, *opened._rungs)} == {"meta"}


def test_a_gpu_that_is_not_there(made: Path, tinylm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="device cuda: PyTorch"):
        evaluate(_spec(made, tinylm, device="cuda", restart=True), Log())
    with pytest.raises(InputError, match="the workers of a cluster compute on CPUs"):
        _spec(made, tinylm, device="cuda", workers=2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_finds_the_same(target: Path, tinylm: str) -> None:
    on_cpu, on_gpu = (evaluate(_spec(target, tinylm, device=device), Log()).rungs for device in ("cpu", "cuda"))
    for name in LADDER:
        assert on_gpu[name].kld_mean == pytest.approx(on_cpu[name].kld_mean, rel=1e-3), name
        assert on_gpu[name].perplexity == pytest.approx(on_cpu[name].perplexity, rel=1e-5), name
