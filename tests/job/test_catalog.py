"""Catalogues: what they may say, and every fault of theirs found together."""

from __future__ import annotations

from pathlib import Path

import pytest

from ggufactory.cli import main
from ggufactory.errors import InputError, PlanError
from ggufactory.job.catalog import load_catalog


def _load(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "catalog.yaml"
    path.write_text(text)
    return path


def test_models_have_the_fields_of_a_job_and_share_target_and_ladder(tmp_path: Path) -> None:
    first, second, third = load_catalog(
        str(
            _load(
                tmp_path,
                """
target: s3://gguf
ladder: classic
models:
  - {source: "hf://org/name", revision: latest}
  - {source: "hf://org/name/sub/folder", revision: refs/pr/1, ladder: [Q8_0], target: s3://gguf/b, priority: 5}
  - {source: ./model, to: out, imatrix: m.gguf, name: other, split_max_size: 45G, pure: true, priority: -1}
""",
            )
        )
    )
    assert (first.spec.source, first.spec.to, first.spec.ladder) == ("hf://org/name", "s3://gguf", ("classic",))
    assert second.spec.source == "hf://org/name@refs%2Fpr%2F1/sub/folder"
    assert (second.spec.to, second.spec.ladder, second.priority) == ("s3://gguf/b", ("Q8_0",), 5)
    assert (third.spec.to, third.spec.imatrix, third.spec.name) == ("out", ("m.gguf",), "other")
    assert (third.spec.split_bytes, third.spec.options.pure, third.priority) == (45_000_000_000, True, -1)


def test_all_faults_are_found_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _load(
        tmp_path,
        """
targets: s3://gguf
models:
  - {source: a, to: out, ladder: [Q8_0, Q9_9], workers: 4}
  - {to: out, ladder: [Q8_0], typo: 1, priority: high}
  - {source: b, ladder: [Q8_0], revision: latest}
  - {source: "hf://org/name@main", to: out, ladder: [Q8_0], revision: 1.5}
  - {source: c, to: out, target: out, ladder: [Q8_0]}
  - {source: d, to: out, ladder: [Q8_0], name: a/b}
  - {source: e, to: out}
  - 7
""",
    )
    assert main(["sync", str(path)]) == 2
    said = capsys.readouterr().err
    for fault in (
        "unknown field 'targets'",
        "model 1 (a): workers is given on the command line",
        "model 1 (a): unknown rung 'Q9_9'",
        "model 2: has no source",
        "model 2: unknown field 'typo'",
        "model 2: priority: wanted a whole number, found 'high'",
        "model 3 (b): has no target",
        "model 3 (b): revision: wanted a source hf://org/name",
        "model 4 (hf://org/name@main): revision: wanted text",
        "model 5 (c): target and to are the same field",
        "model 6 (d): name: wanted a file name",
        "model 7 (e): has no ladder",
        "model 8: wanted fields such as `source:`",
    ):
        assert fault in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "text", ["", "models: []", "models: {a: 1}", "models:", "- a", "target: 1\nmodels: [", "a: " + "[" * 9000]
)
def test_what_is_no_catalogue(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError):
        load_catalog(str(_load(tmp_path, text)))


def test_two_models_that_would_write_the_same_file(
    tmp_path: Path, tinylm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Found from the plans, whatever the models are called, before anything is written."""
    out = tmp_path / "out"
    models = [f"{{source: {tinylm}, ladder: [Q8_0]}}", f"{{source: {tinylm}, ladder: [F16, Q8_0]}}"]
    path = _load(tmp_path, f"target: {out}\nmodels: [{', '.join(models)}]\n")
    assert main(["sync", str(path)]) == 2
    assert f"{out}: tinylm-Q8_0.gguf would be written for {tinylm} and {tinylm}" in capsys.readouterr().err
    assert not out.exists()


def test_faults_are_those_of_one_error(tmp_path: Path) -> None:
    with pytest.raises(PlanError) as raised:
        load_catalog(str(_load(tmp_path, "x: 1\ny: 2\nmodels: [{source: a}]\n")))
    assert len(raised.value.faults) == 4, "two fields, no target, no ladder"
