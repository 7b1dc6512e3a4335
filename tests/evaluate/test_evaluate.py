"""Rungs of the bundled model against what llama-perplexity found of them, and what cannot be evaluated."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from converted_rows import DATA
from ggufactory.calibrate.streamed_model import StreamedModel
from ggufactory.cli import main
from ggufactory.errors import InputError
from ggufactory.job.evaluation_job import evaluate
from ggufactory.job.evaluation_spec import EvaluationSpec
from ggufactory.job.job_spec import JobSpec
from ggufactory.job.ladder_job import run
from ggufactory.observe.calibration_log import CalibrationLog
from ggufactory.publish import manifest
from ggufactory.publish.release import is_released
from ggufactory.publish.verify import verify
from ggufactory.storage import open_store
from ggufactory.storage.folder import FolderStore
from silent_watcher import SilentWatcher

LADDER = ("BF16", "Q4_K_M", "Q2_K", "IQ2_XS")
pytestmark = pytest.mark.cluster

ROUNDED_ACTIVATIONS = ("BF16",)
"""Closer to the source than llama.cpp's activations in eight bits, which its figures hold too."""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, tinylm: str, local_ray: str) -> str:
    to = str(tmp_path_factory.mktemp("ladder"))
    imatrix = str(DATA.parent / "imatrix" / "tinylm-bf16.imatrix.gguf")
    run(JobSpec(source=tinylm, to=to, ladder=LADDER, imatrix=(imatrix,)), SilentWatcher())
    return to


def _recorded(rung: str) -> dict[str, Any]:
    files = json.loads((DATA.parent / "whole_files.json").read_text())["files"]
    found: dict[str, Any] = files["imatrix" if rung in files["imatrix"] else "plain"][rung]["quality"]
    return found


def _spec(target: str, source: str, **fields: Any) -> EvaluationSpec:
    asked: dict[str, Any] = {"texts": (f"{source}/evaluation.txt",), "context": 128} | fields
    return EvaluationSpec(places=(target,), source=source, **asked)


def test_the_bundled_models_ladder(target: str, tinylm: str) -> None:
    found = evaluate(_spec(target, tinylm), CalibrationLog()).rungs
    assert list(found) == list(LADDER)  # the largest first
    for name, quality in found.items():
        recorded = _recorded(name)
        assert abs(quality.perplexity - recorded["perplexity"]) < recorded["perplexity_error"] / 10, name
        assert quality.perplexity_error == pytest.approx(recorded["perplexity_error"], rel=0.01), name
        if name in ROUNDED_ACTIVATIONS:
            assert quality.kld_mean < recorded["kld_mean"], name
        else:
            assert quality.kld_mean == pytest.approx(recorded["kld_mean"], rel=0.1), name
            assert quality.kld_median == pytest.approx(recorded["kld_median"], rel=0.1), name
            assert quality.kld_99 == pytest.approx(recorded["kld_99"], rel=0.1), name
            assert 100 * quality.same_top == pytest.approx(recorded["same_top_percent"], abs=0.5), name
            assert 100 * quality.rms_probability_change == pytest.approx(recorded["rms_dp_percent"], rel=0.1), name
    assert found["BF16"].kld_max < 1e-9


def test_a_target_tells_what_was_found(target: str, tinylm: str) -> None:
    """In its manifest and its card; a rung that was not evaluated keeps what it had."""
    found = evaluate(_spec(target, tinylm, ladder=("Q2_K",), context=64, chunks=4), CalibrationLog()).rungs["Q2_K"]
    store = open_store(target)
    entries = {entry["rung"]: entry for entry in manifest.require(store).entries.values()}
    told = entries["Q2_K"]["quality"]
    assert told["kld_mean"] == found.kld_mean
    text = sha256(Path(tinylm, "evaluation.txt").read_bytes()).hexdigest()
    assert told["texts"] == [{"name": "evaluation.txt", "sha256": text}]
    assert (told["context"], told["chunks"]) == (64, 4)
    card = Path(target, "README.md").read_text()
    assert "## How near to the original" in card
    assert f"| {found.kld_mean:.5f} |" in card
    assert is_released(store)
    assert not [verdict for verdict in verify(store, None, lambda _: None) if verdict.fault]


def test_files_and_json(target: str, tinylm: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [f"{target}/tinylm-{rung}.gguf" for rung in ("Q2_K", "BF16")]
    text = ["--text", f"{tinylm}/evaluation.txt", "--context", "64", "--chunks", "4"]
    measured = ["--metrics-textfile", str(tmp_path / "x.prom")]
    assert main(["evaluate", *files, "--source", tinylm, *text, "--json", *measured]) == 0
    assert 'ggufactory_job_last_exit_code{command="evaluate",model="tinylm"} 0' in (tmp_path / "x.prom").read_text()
    found = json.loads(capsys.readouterr().out)["rungs"]
    assert list(found) == ["tinylm-BF16", "tinylm-Q2_K"]
    named = {"perplexity", "perplexity_error", "kld_mean", "kld_median", "kld_99", "same_top"}
    assert named <= found["tinylm-Q2_K"].keys()
    assert found["tinylm-BF16"]["kld_mean"] < found["tinylm-Q2_K"]["kld_mean"]


def test_a_file_is_read_once(target: str, tinylm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read: dict[str, int] = {}
    whole = FolderStore.read_into

    def counted(self: FolderStore, name: str, offset: int, buffer: memoryview, **kwargs: Any) -> None:
        if offset:  # the header, which is read by the megabyte
            read[name] = read.get(name, 0) + buffer.nbytes
        whole(self, name, offset, buffer, **kwargs)

    monkeypatch.setattr(FolderStore, "read_into", counted)
    evaluate(_spec(target, tinylm, ladder=("Q4_K_M", "Q2_K"), context=32, chunks=2), CalibrationLog())
    for rung in ("Q4_K_M", "Q2_K"):
        name = f"tinylm-{rung}.gguf"
        assert read[name] <= (Path(target) / name).stat().st_size, name
    for file in Path(tinylm).glob("*.safetensors"):
        twice = 512  # a norm, to tell the model
        assert read[file.name] <= file.stat().st_size + twice, file.name


def test_the_figures_are_the_same_in_shares(target: str, tinylm: str) -> None:
    spec = _spec(target, tinylm, ladder=("Q2_K",), context=128, chunks=20)
    assert evaluate(replace(spec, workers=2), CalibrationLog()) == evaluate(spec, CalibrationLog())
    assert not (Path(target) / ".ggufactory-evaluation").exists() or not any(
        path.is_file() for path in (Path(target) / ".ggufactory-evaluation").rglob("*")
    )


def test_what_was_stopped_goes_on(target: str, tinylm: str) -> None:
    """Twelve layers of three models, then two comparisons."""
    spec = _spec(target, tinylm, ladder=("Q4_K_M", "Q2_K"), context=64, chunks=4)
    whole = evaluate(spec, CalibrationLog())

    class Stopped(CalibrationLog):
        def __init__(self, steps: int) -> None:
            super().__init__()
            self._steps = steps

        def advanced(self, done: int, total: int) -> None:
            assert total == 14
            if done == self._steps:
                raise KeyboardInterrupt

    for steps in (1, 5, 10, 13):
        with pytest.raises(KeyboardInterrupt):
            evaluate(spec, Stopped(steps))
        with pytest.raises(InputError, match="unfinished evaluation of this name has another number of chunks"):
            evaluate(replace(spec, chunks=3), CalibrationLog())
        assert evaluate(spec, CalibrationLog()) == whole, steps


def test_the_models_that_were_done_are_not_read_again(
    target: str, tinylm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = _spec(target, tinylm, ladder=("Q4_K_M",), context=64, chunks=4)

    class Stopped(CalibrationLog):
        def advanced(self, done: int, total: int) -> None:
            if done == 6:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(spec, Stopped())
    loaded: list[int] = []
    whole = StreamedModel.layer

    def counted(self: StreamedModel, number: int) -> Any:
        loaded.append(number)
        return whole(self, number)

    monkeypatch.setattr(StreamedModel, "layer", counted)
    evaluate(spec, CalibrationLog())
    assert loaded == [3, 3]


@pytest.mark.parametrize(
    ("places", "said"),
    [
        (lambda target: (f"{target}/nothing",), "has no manifest.json"),
        (lambda target: (f"{target}/missing.gguf",), "there is no file missing.gguf"),
        (lambda target: (f"{target}/tinylm-Q2_K.gguf",) * 2, "have the same name"),
    ],
)
def test_what_is_not_there(target: str, tinylm: str, places: Any, said: str) -> None:
    spec = EvaluationSpec(places=places(target), source=tinylm, texts=(f"{tinylm}/evaluation.txt",))
    with pytest.raises(InputError, match=said):
        evaluate(spec, CalibrationLog())


def test_a_rung_that_is_not_there(target: str, tinylm: str) -> None:
    with pytest.raises(InputError, match=r"has no Q3_K_M; it has .*IQ2_XS"):
        evaluate(_spec(target, tinylm, ladder=("Q3_K_M",)), CalibrationLog())


def test_a_rung_of_another_model(target: str) -> None:
    other = DATA / "llama2" / "checkpoint"
    spec = EvaluationSpec(
        places=(f"{target}/tinylm-Q2_K.gguf",), source=str(other), texts=(f"{DATA}/../tinylm/evaluation.txt",)
    )
    with pytest.raises(InputError, match="made from another model"):
        evaluate(spec, CalibrationLog())


def test_a_rung_of_another_revision(target: str, tinylm: str, tmp_path: Path) -> None:
    """Of the same shapes, with other numbers."""
    changed = tmp_path / "changed"
    shutil.copytree(tinylm, changed)
    for part in changed.glob("*.safetensors"):
        data = bytearray(part.read_bytes())
        header = int.from_bytes(data[:8], "little") + 8
        # Two to the power of one more: the exponent's lowest bit of every BF16 number.
        data[header::2] = bytes(byte ^ 0x80 for byte in data[header::2])
        part.write_bytes(data)
    with pytest.raises(InputError, match="holds other numbers"):
        evaluate(_spec(target, str(changed)), CalibrationLog())


def test_too_little_text(target: str, tinylm: str, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("Too little.")
    with pytest.raises(InputError, match="two contexts need"):
        evaluate(_spec(target, tinylm, texts=(str(tmp_path / "short.txt"),)), CalibrationLog())
