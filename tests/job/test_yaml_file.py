"""Job files and catalogues that people get wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from ggufactory.errors import InputError
from ggufactory.job import yaml_file
from ggufactory.job.job_file import load_job
from ggufactory.job.yaml_file import load_mapping


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("source: a\nladder: [Q8_0]\nsource: b\n", "job, line 3, column 1: the field 'source' is given twice"),
        ("a: {b: 1, b: 2}\n", "job, line 1, column 11: the field 'b' is given twice"),
        ('source: "open\nladder: [', "job, line 2, column 10: found unexpected end of stream"),
        ("source: a\n  to: b\n", "job, line 2, column 5: mapping values are not allowed here"),
        ("a: !!python/object:os.system x\n", "could not determine a constructor"),
        ("- a\n- b\n", "job: wanted fields such as `source:` and `ladder:`, found list"),
        ("", "found nothing"),
        ("a: \x00\n", "job is not valid YAML: "),
    ],
)
def test_faults_are_named_by_their_place(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        load_mapping(str(path), "job")
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_fields_that_are_merged_in_may_be_given_again(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n")
    assert load_mapping(str(path), "job")["b"] == {"x": 3, "y": 2}


def test_a_file_that_is_too_long_is_refused_and_not_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_file, "_LIMIT", 20)
    path = tmp_path / "job.yaml"
    path.write_text("source: a\n" + "#" * 30)
    with pytest.raises(InputError, match="wanted at most 20 bytes, found more"):
        load_mapping(str(path), "job")
    with pytest.raises(InputError, match=r"cannot be read: No such file or directory$"):
        load_mapping(str(tmp_path / "none.yaml"), "job")


def test_a_field_that_is_nearly_right_is_named(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("source: a\nimatrx: b\n")
    with pytest.raises(InputError, match=r"unknown field 'imatrx'\. Did you mean imatrix\?"):
        load_job(str(path))
    path.write_text("source: a\nwhatever: b\n")
    with pytest.raises(InputError, match=r"unknown field 'whatever'\. Known: source, to, target"):
        load_job(str(path))
