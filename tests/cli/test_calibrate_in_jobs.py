"""`calibrate:` in a job: from a checkpoint and a text to a ladder, in one run, and nothing computed twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from converted_rows import conversion
from ggufactory.calibrate.imatrix_file import read_imatrix_file, write_imatrix
from ggufactory.calibrate.settings import CalibrationSettings
from ggufactory.cli import main
from ggufactory.errors import InputError
from ggufactory.job import job_calibration, ladder_job
from ggufactory.job.inspection import GgufSummary, inspect
from ggufactory.job.job_spec import JobSpec
from ggufactory.storage import open_store
from silent_watcher import SilentWatcher
from small_checkpoints import write_checkpoint

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "calibrate-to-iq2.yaml"
NAME = "m.imatrix.gguf"


def _settings(tinylm: str, **asked: Any) -> CalibrationSettings:
    return CalibrationSettings(**{"texts": (f"{tinylm}/evaluation.txt",), "context": 32, "chunks": 4, **asked})


def _spec(tinylm: str, to: Path, **asked: Any) -> JobSpec:
    fields = {"ladder": ("IQ2_XS", "Q4_K_M"), "name": "m", "calibration": _settings(tinylm), **asked}
    return JobSpec(source=tinylm, to=str(to), **fields)


@pytest.fixture
def calibrations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The matrices that calibrations were run for."""
    run: list[str] = []
    original = job_calibration.calibrate

    def spy(spec: Any, watcher: Any) -> Any:
        run.append(spec.to)
        return original(spec, watcher)

    monkeypatch.setattr(job_calibration, "calibrate", spy)
    return run


@pytest.mark.cluster
@pytest.mark.usefixtures("local_ray")
def test_one_job_makes_matrix_and_ladder(tmp_path: Path, tinylm: str, calibrations: list[str]) -> None:
    watcher = SilentWatcher()
    made = ladder_job.run(_spec(tinylm, tmp_path), watcher)
    assert watcher.calibration == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [entry["rung"] for entry in made.entries] == ["IQ2_XS", "Q4_K_M"]
    # The same files as with the matrix given: for llama-quantize, and for us, it is one like any other.
    other = tmp_path / "other"
    given = ladder_job.run(_spec(tinylm, other, calibration=None, imatrix=(str(tmp_path / NAME),)), SilentWatcher())
    assert [e["sha256"] for e in given.entries] == [e["sha256"] for e in made.entries]
    summary = inspect(str(tmp_path / "m-IQ2_XS.gguf"))
    assert isinstance(summary, GgufSummary)
    keys = {kv.key: kv.value for kv in summary.metadata}
    told = {key.removeprefix("quantize.imatrix."): keys[key] for key in keys if key.startswith("quantize.imatrix.")}
    assert told == {"file": NAME, "dataset": "evaluation.txt", "entries_count": 28, "chunks_count": 4}

    assert not ladder_job.run(_spec(tinylm, tmp_path), SilentWatcher()).made
    ladder_job.run(_spec(tinylm, tmp_path, ladder=("IQ3_XXS",)), SilentWatcher())
    assert calibrations == [str(tmp_path / NAME)], "found again, for other rungs as well"
    before = (tmp_path / NAME).read_bytes()
    changed = _spec(tinylm, tmp_path, calibration=_settings(tinylm, chunks=5))
    assert "in place of the one of another text" in (ladder_job.make_plan(changed, open_store(str(tmp_path))).notes[0])
    assert ladder_job.run(changed, SilentWatcher()).made
    assert (len(calibrations), (tmp_path / NAME).read_bytes() == before) == (2, False)


@pytest.mark.cluster
@pytest.mark.usefixtures("local_ray")
def test_the_matrix_is_in_the_manifest_and_verified(
    tmp_path: Path, tinylm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--calibrate-text", f"{tinylm}/evaluation.txt", "--calibrate-context", "32", "--calibrate-chunks", "4"]
    run = ["quantize", tinylm, "--to", str(tmp_path), "--ladder", "IQ2_XS", "--name", "m", *asked]
    assert main(run) == 0
    assert "m.imatrix.gguf: 28 entries from 4 chunks of 32 tokens; perplexity of the source" in capsys.readouterr().out
    entries = {e["file"]: e for e in json.loads((tmp_path / "manifest.json").read_bytes())["artifacts"]}
    assert entries[NAME]["rung"] == "imatrix"
    calibration = entries[NAME]["calibration"]
    assert (calibration["chunks"], calibration["context"], calibration["coverage"]["policy"]) == (4, 32, "ones")
    assert entries["m-IQ2_XS.gguf"]["imatrix"]["sha256"] == entries[NAME]["sha256"]
    assert main(["verify", str(tmp_path)]) == 0
    (tmp_path / NAME).write_bytes((tmp_path / NAME).read_bytes()[:-1] + b"x")
    assert main(["verify", str(tmp_path)]) == 2
    assert "m.imatrix.gguf" in capsys.readouterr().out


@pytest.mark.cluster
@pytest.mark.usefixtures("local_ray")
def test_the_example_of_the_documentation(tmp_path: Path, tinylm: str) -> None:
    """As it is written, but for the model, the places and how much text."""
    asked = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    asked |= {"source": tinylm, "to": str(tmp_path / "out")}
    asked["calibrate"] |= {"text": [f"{tinylm}/calibration.txt"], "context": 64, "chunks": 8}
    asked["evaluate"] |= {"text": [f"{tinylm}/evaluation.txt"], "context": 64, "chunks": 4}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(asked), encoding="utf-8")
    assert main(["quantize", "--job", str(tmp_path / "job.yaml")]) == 0
    assert {path.name for path in (tmp_path / "out").glob("*.gguf")} == {
        "tinylm.imatrix.gguf",
        *(f"tinylm-{rung}.gguf" for rung in asked["ladder"]),
    }
    assert "## How near to the original" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_a_plan_promises_the_matrix_and_is_right_about_sizes(
    tmp_path: Path, tinylm: str, tinylm_imatrix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    promised = ladder_job.make_plan(_spec(tinylm, tmp_path))
    given = ladder_job.make_plan(_spec(tinylm, tmp_path, calibration=None, imatrix=(tinylm_imatrix,)))
    assert [rung.decisions for rung in promised.rungs] == [rung.decisions for rung in given.rungs]
    assert promised.importance is not None
    assert given.importance is not None
    assert promised.importance.entries.keys() == given.importance.entries.keys()
    assert main(["plan", tinylm, "--ladder", "IQ2_XS", "--calibrate-text", "default", "--name", "m"]) == 0
    said = capsys.readouterr().out.replace("\n", " ")
    assert "planned on the promise of m.imatrix.gguf, which `quantize` makes first" in said
    assert "chunks of 512 tokens of ggufactory-default-1.txt" in said


@pytest.mark.parametrize("name", ["glm45_mtp", "qwen3_moe_fused", "deepseek_v2_lite"])
def test_what_is_promised_of_mixtures_is_what_comes(name: str, tmp_path: Path, tinylm: str) -> None:
    source = str(write_checkpoint(name, tmp_path))
    spec = JobSpec(
        source=source,
        to=str(tmp_path / "out"),
        ladder=("IQ2_XS", "Q4_K_M"),
        name="m",
        calibration=_settings(tinylm, chunks=2),
        pre_tokenizer=conversion(name).pre_tokenizer,
    )
    target = open_store(str(tmp_path / "out"))
    promised = ladder_job.make_plan(spec, target)
    job_calibration.make_matrix(spec, "m", target, SilentWatcher())
    kept = ladder_job.make_plan(spec, target)
    assert [rung.decisions for rung in promised.rungs] == [rung.decisions for rung in kept.rungs]
    assert [rung.bytes for rung in promised.rungs] == [rung.bytes for rung in kept.rungs]
    assert promised.importance is not None
    assert promised.importance.promise
    assert kept.importance is not None
    assert not kept.importance.promise


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ladder": ("IQ2_XS", "Q9_K")}, "Q9_K"),
        ({"imatrix": ("a.gguf",)}, "imatrix and calibrate are both given"),
        ({"texts": ("none.txt",)}, "no calibration text .*none.txt"),
        ({"context": 1 << 20}, "two contexts need"),
        ({"compute_dtype": "int4"}, "compute dtype"),
        ({"prune_layers": (9,)}, "the model has layers 0 to 3"),
        ({"source": "{tmp}/m.gguf"}, "m.gguf"),
    ],
    ids=str,
)
def test_everything_is_refused_before_the_model_runs(
    change: dict[str, Any], words: str, tmp_path: Path, tinylm: str, calibrations: list[str]
) -> None:
    of_calibration = {k: v for k, v in change.items() if k in ("texts", "context", "compute_dtype")}
    others = {k: v for k, v in change.items() if k not in of_calibration}
    if "source" in others:
        others["source"] = others["source"].format(tmp=tmp_path)
    fields = {
        "source": tinylm,
        "to": str(tmp_path),
        "ladder": ("IQ2_XS",),
        "calibration": _settings(tinylm, **of_calibration),
        **others,
    }
    with pytest.raises(InputError, match=words):
        ladder_job.run(JobSpec(**fields), SilentWatcher())
    assert calibrations == []


def test_an_encoder_is_refused(tmp_path: Path, tinylm: str) -> None:
    spec = JobSpec(
        source=str(write_checkpoint("bert_classifier", tmp_path)),
        to=str(tmp_path),
        ladder=("Q8_0",),
        calibration=_settings(tinylm),
        pre_tokenizer=conversion("bert_classifier").pre_tokenizer,
    )
    with pytest.raises(InputError, match="is an encoder"):
        ladder_job.make_plan(spec)


def test_a_matrix_of_somebody_else_is_not_replaced(tmp_path: Path, tinylm: str, tinylm_imatrix: str) -> None:
    shutil.copy(tinylm_imatrix, tmp_path / NAME)
    with pytest.raises(InputError, match="was made by no calibration of a job"):
        ladder_job.make_plan(_spec(tinylm, tmp_path), open_store(str(tmp_path)))
    content = read_imatrix_file(tinylm_imatrix).content
    write_imatrix(str(tmp_path / NAME), content)
    with pytest.raises(InputError, match="was made by no calibration of a job"):
        ladder_job.make_plan(_spec(tinylm, tmp_path), open_store(str(tmp_path)))


def test_headers_are_not_republished_on_a_promise(tmp_path: Path, tinylm: str) -> None:
    with pytest.raises(InputError, match="does not hold the importance matrix of this job"):
        ladder_job.republish_headers(_spec(tinylm, tmp_path, split_bytes=1 << 20), SilentWatcher())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("calibrate: default", "calibrate: wanted a mapping of fields"),
        ("calibrate: {texts: [a]}", "calibrate: unknown field 'texts'"),
        ("calibrate: {coverage: some}", "coverage: wanted one of ones, prior, more, found 'some'"),
        ("calibrate: {coverage: {policy: prior, token: 4}}", "coverage: unknown field 'token'"),
        ("calibrate: {chunks: many}", "chunks: wanted a whole number"),
        ("calibrate: {chunks: 0}", "chunks: wanted 1 or more"),
        ("calibrate: {}\nimatrix: a.gguf", "imatrix and calibrate are both given"),
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
        f"source: {tinylm}\nladder: IQ2_XS\ncalibrate: {{text: {tinylm}/evaluation.txt, context: 64, chunks: 3}}\n"
    )
    run = ["plan", "--job", str(tmp_path / "job.yaml")]
    assert main(run) == 0
    assert "3 chunks of 64 tokens of evaluation.txt" in capsys.readouterr().out
    assert main([*run, "--calibrate-chunks", "7", "--coverage", "more", "--coverage-chunks", "9"]) == 0
    assert "9 chunks of 64 tokens of evaluation.txt" in capsys.readouterr().out.replace("\n", " ")
    assert main(["plan", tinylm, "--ladder", "Q8_0", "--coverage", "prior"]) == 2
    assert "no calibration text" in capsys.readouterr().err
