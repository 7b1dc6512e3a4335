"""`evaluate:` in a job: the ladder is made, then compared with its source; and no rung is compared twice."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import minisign
import pytest
import yaml

from converted_rows import conversion
from ggufactory.calibrate.settings import CalibrationSettings
from ggufactory.calibrate.streamed_model import StreamedModel
from ggufactory.cli import main
from ggufactory.errors import InputError, UnavailableError
from ggufactory.evaluate.settings import EvaluationSettings
from ggufactory.job import evaluation_run, job_evaluation, ladder_job
from ggufactory.job.catalog import load_catalog
from ggufactory.job.evaluation_job import evaluate
from ggufactory.job.evaluation_spec import EvaluationSpec
from ggufactory.job.job_file import load_job
from ggufactory.job.job_spec import JobSpec
from ggufactory.job.packed_job import JOB_FILE, pack_job
from ggufactory.job.sync import State, sync
from ggufactory.observe.calibration_log import CalibrationLog
from ggufactory.observe.exports import Exports
from ggufactory.observe.sync_report import SyncReporter
from ggufactory.publish.signing import PASSWORD_VARIABLE, Verifier
from ggufactory.publish.verify import verify
from ggufactory.storage import open_store
from job_process import JobProcess
from silent_watcher import SilentWatcher
from small_checkpoints import write_checkpoint

STATE = ".ggufactory-evaluation"


def _settings(tinylm: str, **asked: Any) -> EvaluationSettings:
    return EvaluationSettings(**{"texts": (f"{tinylm}/evaluation.txt",), "context": 32, "chunks": 4, **asked})


def _spec(tinylm: str, to: Path, **asked: Any) -> JobSpec:
    fields = {"ladder": ("Q8_0", "Q2_K"), "name": "m", "evaluation": _settings(tinylm), **asked}
    return JobSpec(source=tinylm, to=str(to), **fields)


def _quality(to: Path) -> dict[str, Any]:
    entries = json.loads((to / "manifest.json").read_bytes())["artifacts"]
    return {entry["rung"]: entry["quality"] for entry in entries if "quality" in entry}


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The rungs that evaluations were run for."""
    run: list[tuple[str, ...]] = []
    original = job_evaluation.evaluate

    def spy(spec: Any, *rest: Any) -> Any:
        run.append(spec.ladder)
        return original(spec, *rest)

    monkeypatch.setattr(job_evaluation, "evaluate", spy)
    return run


@pytest.mark.cluster
@pytest.mark.usefixtures("local_ray")
def test_rungs_are_evaluated_once(tmp_path: Path, tinylm: str, evaluated: list[tuple[str, ...]]) -> None:
    watcher = SilentWatcher()
    made = ladder_job.run(_spec(tinylm, tmp_path), watcher)
    assert (made.made, evaluated) == (True, [("Q8_0", "Q2_K")])
    assert watcher.evaluation[-1] == (14, 14)  # four layers of three models, two comparisons
    assert made.evaluated is not None
    found = _quality(tmp_path)
    assert {rung: told["kld_mean"] for rung, told in found.items()} == {
        rung: quality.kld_mean for rung, quality in made.evaluated.rungs.items()
    }
    assert f"{found['Q2_K']['kld_mean']:.5f}" in (tmp_path / "README.md").read_text()
    spec = EvaluationSpec(
        places=(str(tmp_path),), source=tinylm, texts=(f"{tinylm}/evaluation.txt",), context=32, chunks=4
    )
    # As the command finds them, and lists them: then the job has nothing to do.
    assert evaluate(spec, CalibrationLog()).rungs == made.evaluated.rungs
    target = open_store(str(tmp_path))
    assert not [verdict for verdict in verify(target, None, lambda _: None) if verdict.fault]
    again = ladder_job.run(_spec(tinylm, tmp_path), SilentWatcher())
    assert (again.made, again.evaluated, len(evaluated)) == (False, None, 1)

    ladder_job.run(_spec(tinylm, tmp_path, ladder=("Q8_0", "Q4_0", "Q2_K")), SilentWatcher())
    ladder_job.run(_spec(tinylm, tmp_path, evaluation=_settings(tinylm, ladder=("Q2_K",), chunks=3)), SilentWatcher())
    assert evaluated[1:] == [("Q4_0",), ("Q2_K",)]
    assert {rung: told["chunks"] for rung, told in _quality(tmp_path).items()} == {"Q8_0": 4, "Q4_0": 4, "Q2_K": 3}
    assert not [path for path in (tmp_path / STATE).rglob("*") if path.is_file()]


@pytest.mark.cluster
@pytest.mark.usefixtures("local_ray")
def test_a_failed_evaluation_leaves_the_files(
    tmp_path: Path, tinylm: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(self: Any) -> Any:
        raise UnavailableError("there is not enough memory for a layer")

    asked = ["--evaluate-text", f"{tinylm}/evaluation.txt", "--evaluate-context", "32", "--evaluate-chunks", "4"]
    command = ["quantize", tinylm, "--to", str(tmp_path), "--ladder", "Q8_0", "--name", "m", *asked]
    with monkeypatch.context() as broken:
        broken.setattr(evaluation_run.EvaluationRun, "compare", fails)
        assert main(command) == UnavailableError.exit_code
    said = capsys.readouterr().err
    assert "every file is there, but the evaluation failed: there is not enough memory" in said
    assert main(["verify", str(tmp_path)]) == 0
    before = hashlib.sha256((tmp_path / "m-Q8_0.gguf").read_bytes()).hexdigest()
    assert main([*command, "--no-evaluate"]) == 2, "they cannot both be meant"
    assert main([*command[:-6], "--no-evaluate"]) == 0
    assert _quality(tmp_path) == {}
    capsys.readouterr()
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "No file was missing" in said
    assert "KLD mean" in said
    assert hashlib.sha256((tmp_path / "m-Q8_0.gguf").read_bytes()).hexdigest() == before


@pytest.mark.cluster
def test_a_job_killed_while_it_evaluates(
    tmp_path: Path, tinylm: str, local_ray: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL after the second layer of the source: the next run makes no file, and goes on after what was finished."""
    spec = _spec(
        tinylm,
        tmp_path / "out",
        ladder=("Q2_K",),
        calibration=CalibrationSettings(texts=(f"{tinylm}/calibration.txt",), context=32, chunks=4),
        evaluation=_settings(tinylm, context=128, chunks=64),
    )
    asked = {
        "source": tinylm,
        "to": spec.to,
        "ladder": ["Q2_K"],
        "name": "m",
        "calibrate": {"text": f"{tinylm}/calibration.txt", "context": 32, "chunks": 4},
        "evaluate": {"text": f"{tinylm}/evaluation.txt", "context": 128, "chunks": 64},
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(asked))
    run = JobProcess.start(tmp_path / "log", "quantize", "--job", str(tmp_path / "job.yaml"))
    state = tmp_path / "out" / STATE
    assert run.wait_until(lambda: bool(list(state.rglob("sums-0002")))), run.text()
    run.kill()
    assert _quality(tmp_path / "out") == {}
    loaded: list[int] = []
    layer = StreamedModel.layer

    def counted(self: StreamedModel, number: int) -> Any:
        loaded.append(number)
        return layer(self, number)

    monkeypatch.setattr(StreamedModel, "layer", counted)
    resumed = ladder_job.run(spec, SilentWatcher())
    assert not resumed.made
    assert 0 < len(loaded) <= 6, "of eight layers of two models"
    assert resumed.evaluated is not None
    whole = EvaluationSpec(
        places=(str(tmp_path / "out" / "m-Q2_K.gguf"),),
        source=tinylm,
        texts=(f"{tinylm}/evaluation.txt",),
        context=128,
        chunks=64,
    )
    assert list(evaluate(whole, CalibrationLog()).rungs.values()) == list(resumed.evaluated.rungs.values())


@pytest.mark.cluster
@pytest.mark.usefixtures("local_ray")
def test_on_a_cluster_the_driver_holds_no_model(tmp_path: Path, tinylm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither to calibrate nor to evaluate; of several workers, whose figures are those of one process."""
    calibration = CalibrationSettings(texts=(f"{tinylm}/calibration.txt",), context=32, chunks=4)
    wanted = ladder_job.run(_spec(tinylm, tmp_path / "here", calibration=calibration), SilentWatcher()).evaluated

    def refuses(*_: Any) -> Any:
        raise AssertionError("the driver loads weights")

    monkeypatch.setattr(StreamedModel, "layer", refuses)
    asked: dict[str, Any] = {"calibration": calibration, "ray_address": "of the Ray that is joined already"}
    assert ladder_job.run(_spec(tinylm, tmp_path / "there", **asked), SilentWatcher()).evaluated == wanted
    assert wanted is not None


@pytest.mark.cluster
@pytest.mark.usefixtures("local_ray")
def test_a_catalogue(tmp_path: Path, tinylm: str, evaluated: list[tuple[str, ...]]) -> None:
    asked = {
        "target": str(tmp_path / "out"),
        "ladder": ["Q8_0"],
        "models": [
            {
                "source": tinylm,
                "name": "m",
                "evaluate": {"text": f"{tinylm}/evaluation.txt", "context": 32, "chunks": 4},
            }
        ],
    }

    def state() -> State:
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(asked))
        reporter = SyncReporter(Exports(None, None, []))
        models = load_catalog(str(tmp_path / "c.yaml"))
        (outcome,) = sync(models, reporter, if_locked="fail", ray_address=None, workers=None)
        return outcome.state

    assert [state(), state()] == [State.MADE, State.CURRENT]
    asked["models"][0]["evaluate"]["chunks"] = 3  # type: ignore[index]
    assert [state(), state()] == [State.MADE, State.CURRENT]
    assert evaluated == [("Q8_0",), ("Q8_0",)]


@pytest.mark.cluster
@pytest.mark.usefixtures("local_ray")
def test_the_signature_is_of_the_figures_too(tmp_path: Path, tinylm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = minisign.KeyPair.generate()
    pair.secret_key.encrypt("a password", opslimit=32768, memlimit=16 << 20)
    (tmp_path / "key").write_bytes(bytes(pair.secret_key) + b"\n")
    monkeypatch.setenv(PASSWORD_VARIABLE, "a password")
    to = tmp_path / "out"
    ladder_job.run(_spec(tinylm, to, ladder=("Q8_0",), sign_key=str(tmp_path / "key")), SilentWatcher())
    assert _quality(to)
    public = bytes(pair.public_key.to_base64()).decode()
    verdicts = verify(open_store(str(to)), Verifier.load(public), lambda _: None)
    assert "manifest.json.minisig" in {verdict.file for verdict in verdicts}
    assert not [verdict for verdict in verdicts if verdict.fault]


def test_what_is_planned(tmp_path: Path, tinylm: str, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--evaluate-text", f"{tinylm}/evaluation.txt", "--evaluate-context", "32", "--evaluate-chunks", "5"]
    assert main(["plan", tinylm, "--ladder", "Q8_0", *few]) == 0
    said = capsys.readouterr().out.replace("\n", " ")
    assert "the rungs will be evaluated over 5 chunks of 32 tokens of evaluation.txt" in said
    assert ladder_job.make_plan(_spec(tinylm, tmp_path)).fingerprint == (
        ladder_job.make_plan(_spec(tinylm, tmp_path, evaluation=None)).fingerprint
    ), "the files are the same"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"texts": ("none.txt",)}, "no evaluation text .*none.txt"),
        ({"context": 1 << 20}, "two contexts need"),
        ({"context": 3}, "context: wanted 4 tokens"),
        ({"chunks": 0}, "chunks: wanted 1 or more"),
        ({"compute_dtype": "int4"}, "compute dtype"),
        ({"device": "tpu"}, "device: wanted one of"),
        ({"activations": "q4"}, "activations: wanted one of f32, as-llama.cpp"),
        ({"ladder": ("Q8_0", "Q4_0")}, "the job makes no Q4_0"),
        ({"prune_layers": (1,)}, "a model without some of its layers"),
        ({"source": "{tmp}/m.gguf"}, "m.gguf"),
    ],
    ids=str,
)
def test_everything_is_refused_before_a_file_is_made(
    change: dict[str, Any], words: str, tmp_path: Path, tinylm: str
) -> None:
    of_job = {key: value for key, value in change.items() if key in ("prune_layers", "source")}
    settings = _settings(tinylm, **{key: value for key, value in change.items() if key not in of_job})
    fields = {"source": tinylm, "to": str(tmp_path), "ladder": ("Q8_0",), "evaluation": settings, **of_job}
    with pytest.raises(InputError, match=words):
        ladder_job.run(JobSpec(**fields), SilentWatcher())
    assert list(tmp_path.glob("*.gguf")) == []


def test_an_encoder_is_refused(tmp_path: Path, tinylm: str) -> None:
    spec = JobSpec(
        source=str(write_checkpoint("bert_classifier", tmp_path)),
        ladder=("Q8_0",),
        evaluation=_settings(tinylm),
        pre_tokenizer=conversion("bert_classifier").pre_tokenizer,
    )
    with pytest.raises(InputError, match="is an encoder; only models that predict text are evaluated"):
        ladder_job.make_plan(spec)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("evaluate: {}", "evaluate: no text is given"),
        ("evaluate: some.txt", "evaluate: wanted a mapping of fields"),
        ("evaluate: {texts: [a]}", "evaluate: unknown field 'texts'"),
        ("evaluate: {text: a, chunks: many}", "chunks: wanted a whole number"),
        ("evaluate: {text: a, ladder: 3}", "ladder: wanted a list of rungs"),
        ("evaluate: {text: a}\nevaluation: {text: a}", "unknown field 'evaluation'"),
    ],
)
def test_job_files_that_are_wrong(
    text: str, told: str, tmp_path: Path, tinylm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "job.yaml").write_text(f"source: {tinylm}\nladder: Q8_0\n{text}\n")
    assert main(["plan", "--job", str(tmp_path / "job.yaml")]) == 2
    assert told in capsys.readouterr().err


def test_flags_go_over_the_file(tmp_path: Path, tinylm: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "job.yaml").write_text(
        f"source: {tinylm}\nladder: Q8_0\nevaluate: {{text: {tinylm}/evaluation.txt, context: 64, chunks: 3}}\n"
    )
    plan = ["plan", "--job", str(tmp_path / "job.yaml")]
    assert main([*plan, "--evaluate-chunks", "7"]) == 0
    assert "over 7 chunks of 64 tokens of evaluation.txt" in capsys.readouterr().out.replace("\n", " ")
    assert main([*plan, "--no-evaluate"]) == 0
    assert "evaluated" not in capsys.readouterr().out
    assert main(["plan", tinylm, "--ladder", "Q8_0", "--evaluate-chunks", "7"]) == 2
    assert "no evaluation text" in capsys.readouterr().err


def test_a_submission_knows_what_is_evaluated(tmp_path: Path, tinylm: str) -> None:
    """By the text itself, wherever it lies."""
    spec = _spec(tinylm, tmp_path)
    (tmp_path / "evaluation.txt").write_bytes(Path(tinylm, "evaluation.txt").read_bytes())
    elsewhere = _spec(tinylm, tmp_path, evaluation=_settings(tinylm, texts=(str(tmp_path / "evaluation.txt"),)))
    others = [
        _spec(tinylm, tmp_path, evaluation=_settings(tinylm, **{k: v}))
        for k, v in (("chunks", 5), ("ladder", ("Q8_0",)), ("activations", "as-llama.cpp"), ("context", 64))
    ]
    fingerprints = {job_evaluation.fingerprint_of(job) for job in (spec, elsewhere, *others)}
    assert job_evaluation.fingerprint_of(spec) == job_evaluation.fingerprint_of(elsewhere)
    assert len(fingerprints) == 5
    assert job_evaluation.fingerprint_of(_spec(tinylm, tmp_path, evaluation=None)) == ""


def test_its_texts_travel_with_a_job(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("Some text.")
    asked = {"source": "s3://a/b", "to": "s3://c/d", "ladder": ["Q8_0"]}
    asked["evaluate"] = {"text": [str(tmp_path / "own.txt"), "s3://a/other.txt"]}  # type: ignore[assignment]
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(asked))
    (tmp_path / "packed").mkdir()
    pack_job(str(tmp_path / "job.yaml"), tmp_path / "packed", shared_paths=False)
    texts = load_job(str(tmp_path / "packed" / JOB_FILE))["evaluation"].texts
    assert texts == ("file0/own.txt", "s3://a/other.txt")
    assert (tmp_path / "packed" / texts[0]).read_text() == "Some text."
