"""manifest.json against its schema; what was written by earlier releases; what is no manifest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ggufactory.errors import InputError
from ggufactory.job import ladder_job
from ggufactory.job.job_spec import JobSpec
from ggufactory.plan.options import Options
from ggufactory.publish import copies, manifest
from ggufactory.publish.entry import entries_of
from ggufactory.publish.header import CardHeader, read_header
from ggufactory.publish.recipe import expand
from ggufactory.storage import open_store
from ggufactory.storage.checksum import Checksum
from ggufactory.storage.protocol import ObjectInfo
from made_targets import made_target

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "manifest.schema.json").read_text())
CARD = """---
license: apache-2.0
library_name: transformers
language: [en, fr]
tags: [chat, "region:us"]
pipeline_tag: text-generation
---
# A model
"""


def written(tmp_path: Path, tinylm: str, imatrix: str, **asked: Any) -> tuple[Any, dict[str, Any]]:
    """The plan of a checkpoint with a card, and the manifest that its job would write; nothing is quantized."""
    source = tmp_path / "tinylm"
    source.mkdir()
    for path in Path(tinylm).iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    (source / "README.md").write_text(CARD)
    plan = ladder_job.make_plan(JobSpec(source=str(source), to=str(tmp_path / "out"), imatrix=(imatrix,), **asked))
    store = open_store(str(tmp_path / "out"))
    objects: dict[str, ObjectInfo] = {}
    for name in plan.files:
        info = store.put(name, b"x")
        assert info is not None
        objects[name] = info
    checksums = dict.fromkeys(plan.files, Checksum(1, "a" * 64))
    errors = {name: {"output.weight": 0.0182, "token_embd.weight": 0.0} for name in plan.files}
    entries = entries_of(plan, objects, checksums, ["cpu x"], errors)
    manifest.merge(store, entries, CardHeader({"quantized_by": "me"}, "# Hi"))
    return plan, json.loads((tmp_path / "out" / "manifest.json").read_text())


def test_what_a_job_writes_keeps_to_the_schema(tmp_path: Path, tinylm: str, tinylm_imatrix: str) -> None:
    options = Options(output_type="Q8_0", tensor_types=(("attn_v", "Q8_0"),))
    plan, found = written(
        tmp_path, tinylm, tinylm_imatrix, ladder=("Q8_0", "Q4_K_M"), split_bytes=1_000_000, options=options
    )
    jsonschema.validate(found, SCHEMA)
    entries = found["artifacts"]
    assert sorted(entry["file"] for entry in entries) == sorted(plan.files)
    properties = SCHEMA["$defs"]["artifact"]["properties"]
    for entry in entries:
        assert entry.keys() == properties.keys() - {"calibration", "quality"}, (
            "every field is in the schema, and the other way round"
        )
        for part in ("source", "imatrix", "made_by"):
            assert entry[part].keys() <= SCHEMA["$defs"][part]["properties"].keys()
    recipe: dict[str, str] = {}
    for entry in entries:
        if entry["rung"] == "Q4_K_M":
            held = expand(entry["recipe"])
            assert not held.keys() & recipe.keys(), "a file of a split tells of its own tensors"
            recipe |= held
    decided = next(rung for rung in plan.rungs if rung.name == "Q4_K_M").decisions
    assert recipe == {name: decision.type for name, decision in decided.items()}
    assert entries[0]["options"] == {"output_type": "Q8_0", "tensor_types": [["attn_v", "Q8_0"]]}
    source = entries[0]["source"]
    assert source["card"] == {
        "license": "apache-2.0",
        "pipeline_tag": "text-generation",
        "language": ["en", "fr"],
        "tags": ["chat", "region:us"],
    }
    assert {"config.json", "README.md", "tokenizer.model"} <= source["read"].keys()
    assert found["card"] == {"front_matter": {"quantized_by": "me"}, "text": "# Hi"}


def test_a_manifest_of_the_first_format_is_read_and_becomes_one_of_the_second(tmp_path: Path) -> None:
    target = made_target(tmp_path, {"Q8_0": 1000})
    old = json.loads((tmp_path / "manifest.json").read_text())
    del old["card"]
    old["format"] = 1
    for name in ("name", "file_type", "recipe", "options"):
        del old["artifacts"][0][name]
    for name in ("revision", "read", "card"):
        del old["artifacts"][0]["source"][name]
    del old["artifacts"][0]["made_by"]["kernels"]
    jsonschema.validate(old, SCHEMA)
    (tmp_path / "manifest.json").write_text(json.dumps(old))
    found = manifest.load(open_store(str(tmp_path)))
    assert found is not None
    assert found.format == 1
    made_target(tmp_path, {"Q4_K_M": 500}, keep=True)
    new = json.loads((tmp_path / "manifest.json").read_text())
    assert new["format"] == 2
    jsonschema.validate(new, SCHEMA)
    assert {entry["file"] for entry in new["artifacts"]} == {*target.files, "name-Q4_K_M.gguf"}
    assert old["artifacts"][0] in new["artifacts"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": 3}, "wanted format 2, found 3"),
        ({"artifacts": 7}, "is not a manifest: wanted an object with a list of artifacts"),
        ({"artifacts": [1]}, "is not a manifest"),
        ({"artifacts": [{"file": "../../x"}]}, "wanted a plain file name"),
        ({"artifacts": [{"file": ".x"}]}, "wanted a plain file name"),
        ({"artifacts": [{"file": "x.gguf", "bytes": -1}]}, "bytes: wanted a size"),
        ({"artifacts": [{"file": "x.gguf", "bytes": True}]}, "bytes: wanted a size"),
        ({"artifacts": [{"file": "x.gguf", "bytes": 1, "sha256": "A" * 64}]}, "sha256: wanted hexadecimal"),
        ({"card": [1]}, "card: wanted an object"),
    ],
)
def test_what_is_no_manifest(tmp_path: Path, change: dict[str, object], told: str) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 2, "artifacts": [], **change}))
    with pytest.raises(InputError, match=told):
        manifest.load(open_store(str(tmp_path)))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("garbage", "is not a manifest: Expecting value: line 1 column 1"),
        ("[1]", "is not a manifest: wanted an object with a list of artifacts"),
        ("{}", "is not a manifest: 'format' is missing"),
    ],
)
def test_what_is_no_manifest_at_all(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=told):
        manifest.load(open_store(str(tmp_path)))


@pytest.mark.parametrize("number", ["1e400", "-1e400", "NaN", "Infinity", "-Infinity"])
def test_numbers_that_no_manifest_can_hold(tmp_path: Path, number: str) -> None:
    """Ours would not be able to write them again."""
    (tmp_path / "manifest.json").write_text(f'{{"format": 2, "artifacts": [], "also": {number}}}')
    with pytest.raises(InputError, match=f"is not a manifest.*{number} is no finite number"):
        manifest.load(open_store(str(tmp_path)))


@pytest.mark.parametrize("errors", [7, [], None, {"t": -0.1}, {"t": "0.1"}, {"t": True}, {"t": {}}])
def test_errors_that_are_none(tmp_path: Path, errors: object) -> None:
    made_target(tmp_path, {"Q8_0": 10})
    path = tmp_path / "manifest.json"
    content = json.loads(path.read_text())
    content["artifacts"][0]["errors"] = errors
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"name-Q8_0\.gguf: errors: wanted a relative error for each tensor"):
        manifest.load(open_store(str(tmp_path)))


def test_every_field_that_is_relied_on_may_be_anything(tmp_path: Path) -> None:
    """A stranger's manifest is refused or rendered, and nothing else."""
    from ggufactory.publish.card import render

    made_target(tmp_path, {"Q8_0": 10})
    whole = json.loads((tmp_path / "manifest.json").read_text())
    entry = whole["artifacts"][0]
    places = [(entry, key) for key in entry] + [
        (entry[part], key) for part in ("source", "imatrix", "made_by") for key in entry[part]
    ]
    for place, key in places:
        kept = place[key]
        for value in (None, 5, "text", [1, ["|"]], {"a": {"b": []}}):
            place[key] = value
            (tmp_path / "manifest.json").write_text(json.dumps(whole))
            try:
                found = manifest.require(open_store(str(tmp_path)))
            except InputError:
                continue
            render(found, "s3://bucket/prefix")
        place[key] = kept


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"\xff\xfe", "is not UTF-8"),
        (b"---\na: 1\n", "has no end"),
        (b"---\na: [\n---\n", "cannot be used"),
        (b"---\nat: 2026-01-01\n---\n", "cannot be used"),
        (b"---\n- a\n---\n", "fields with names"),
    ],
)
def test_a_header_that_cannot_be_one(tmp_path: Path, text: bytes, told: str) -> None:
    (tmp_path / "header.md").write_bytes(text)
    with pytest.raises(InputError, match=told):
        read_header(str(tmp_path / "header.md"))


def test_headers(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Title\n\nText.\n")
    assert read_header(str(tmp_path / "a.md")) == CardHeader({}, "# Title\n\nText.")
    (tmp_path / "b.md").write_text("---\nquantized_by: me\n---\n\nText.\n")
    assert read_header(str(tmp_path / "b.md")) == CardHeader({"quantized_by": "me"}, "Text.")
    with pytest.raises(InputError, match="no such file"):
        read_header(str(tmp_path / "c.md"))


def test_a_copied_target_keeps_its_entries_and_loses_those_of_files_that_differ(tmp_path: Path) -> None:
    made = made_target(tmp_path / "made", {"Q8_0": 1000, "Q6_K": 800, "Q4_K_M": 500})
    copy = tmp_path / "copy"
    shutil.copytree(made.folder, copy)
    damaged = copy / "name-Q6_K.gguf"
    damaged.write_bytes(damaged.read_bytes()[::-1])
    store = open_store(str(copy))
    manifest.merge(store, {})
    entries = manifest.require(store).entries
    original = manifest.require(open_store(made.uri)).entries
    assert sorted(entries) == ["name-Q4_K_M.gguf", "name-Q8_0.gguf"]
    for name, entry in entries.items():
        info = store.stat(name)
        assert info is not None
        assert entry == {**original[name], "etag": info.etag}
        assert entry["etag"] != original[name]["etag"]


def test_files_of_the_listed_tags_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = made_target(tmp_path, {"Q8_0": 1000, "Q4_K_M": 500})

    def refuse(*_: object) -> Checksum:
        raise AssertionError("a file was read")

    monkeypatch.setattr(copies, "checksum_object", refuse)
    before = (tmp_path / "manifest.json").read_bytes()
    manifest.merge(open_store(made.uri), {})
    assert (tmp_path / "manifest.json").read_bytes() == before
