"""What lies beside the artifacts: made from the manifest, in order, again and again the same."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest
import yaml

from ggufactory.cli import main
from ggufactory.publish import manifest, release
from ggufactory.publish.card import render
from ggufactory.publish.header import CardHeader
from ggufactory.publish.release import LATEST
from ggufactory.storage import open_store
from ggufactory.storage.folder import FolderStore
from made_targets import MadeTarget, made_target

BESIDE = ("manifest.json", "README.md", "SHA256SUMS", LATEST)
"""In the order in which they are written."""


@pytest.fixture
def target(tmp_path: Path) -> MadeTarget:
    return made_target(tmp_path / "out", {"Q8_0": 5000, "Q4_K_M": 3000}, split={"BF16": [10, 8000, 7000]})


def content(target: MadeTarget) -> dict[str, bytes]:
    return {name: (target.folder / name).read_bytes() for name in BESIDE}


def test_checksums_are_those_that_sha256sum_checks(target: MadeTarget) -> None:
    assert shutil.which("sha256sum")
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    done = subprocess.run(command, cwd=target.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": OK") == len(target.files) + 1
    (target.folder / "name-Q8_0.gguf").write_bytes(b"x")
    assert subprocess.run(command, cwd=target.folder, capture_output=True, check=False).returncode == 1


def test_a_name_with_a_backslash_is_written_as_sha256sum_does(tmp_path: Path) -> None:
    target = made_target(tmp_path, {"Q8\\0": 10})
    own = subprocess.run(["sha256sum", "name-Q8\\0.gguf"], cwd=tmp_path, capture_output=True, check=True).stdout
    assert own in (target.folder / "SHA256SUMS").read_bytes()


def test_the_pointer_names_the_manifest_and_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    put = FolderStore.put

    def watched(self: FolderStore, name: str, *arguments: object, **options: object) -> object:
        order.append(name)
        return put(self, name, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(FolderStore, "put", watched)
    target = made_target(tmp_path, {"Q8_0": 10})
    assert order == ["name-Q8_0.gguf", *BESIDE]
    pointer = json.loads((target.folder / LATEST).read_text())
    assert pointer["manifest_sha256"] == manifest.require(open_store(target.uri)).sha256
    assert pointer["plan"] == "0" * 64
    assert pointer["at"] == "2026-11-22T00:00:00+00:00"


def test_again_writes_nothing(target: MadeTarget, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in target.folder.rglob("*")}
    assert main(["card", target.uri]) == 0
    assert {path: path.stat().st_mtime_ns for path in target.folder.rglob("*")} == before


@pytest.mark.parametrize("gone", ["README.md", "SHA256SUMS", "latest.json"])
def test_what_a_killed_run_left_out_is_made_by_the_next(target: MadeTarget, gone: str) -> None:
    before = content(target)
    (target.folder / gone).unlink()
    assert main(["verify", target.uri]) == 2
    assert main(["card", target.uri]) == 0
    assert content(target) == before
    assert main(["verify", target.uri]) == 0


def test_a_manifest_that_is_replaced_meanwhile_is_what_ends_up_described(
    target: MadeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another job's manifest arrives between our reading of it and our last write."""
    write = release._write
    others: list[str] = []

    def slow(*arguments: object) -> None:
        write(*arguments)  # type: ignore[arg-type]
        if not others:
            others.append("Q6_K")
            monkeypatch.setattr(release, "_write", write)
            made_target(target.folder, {"Q6_K": 100}, keep=True)
            write(*arguments)  # type: ignore[arg-type]  # ours, from the old manifest, come last

    monkeypatch.setattr(release, "_write", slow)
    (target.folder / "README.md").unlink()
    assert main(["card", target.uri]) == 0
    assert b"name-Q6_K.gguf" in (target.folder / "README.md").read_bytes()
    assert main(["verify", target.uri]) == 0


@pytest.mark.parametrize("name", ["README.md", "SHA256SUMS", "latest.json"])
def test_verify_sees_what_is_not_of_this_manifest(
    target: MadeTarget, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = target.folder / name
    path.write_bytes(path.read_bytes().replace(b"0", b"1"))
    assert main(["verify", target.uri]) == 2
    said, error = capsys.readouterr()
    assert f"{name}  " in said
    assert "FAILED is not that of this manifest.json" in said
    assert f"{name} is not what belongs there" in error


def test_what_others_wrote_is_left_alone(target: MadeTarget, capsys: pytest.CaptureFixture[str]) -> None:
    (target.folder / "README.md").write_text("# My own card\n")
    (target.folder / "SHA256SUMS").write_text("0  something\n")
    assert main(["card", target.uri]) == 0
    assert capsys.readouterr().err.count("was not made by ggufactory") == 2
    assert (target.folder / "README.md").read_text() == "# My own card\n"
    assert (target.folder / "SHA256SUMS").read_text() == "0  something\n"
    assert main(["verify", target.uri]) == 0


def test_a_header_goes_over_the_card_s_own_and_is_kept(target: MadeTarget, tmp_path: Path) -> None:
    (tmp_path / "h.md").write_text("---\nquantized_by: me\nlicense: mit\ntags: [fast, gguf]\n---\n# Mine\n\nTold.\n")
    assert main(["card", target.uri, "--header", str(tmp_path / "h.md")]) == 0
    made_target(target.folder, {"Q6_K": 100}, keep=True)
    card = (target.folder / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["license"] == "mit"
    assert front["quantized_by"] == "me"
    assert front["base_model"] == ["org/name"]
    assert front["base_model_relation"] == "quantized"
    assert front["language"] == ["en"]
    assert front["tags"] == ["gguf", "llama.cpp", "quantized", "ggufactory", "imatrix", "chat", "fast"]
    assert "# Mine\n\nTold." in card
    assert "# name GGUF" not in card
    assert main(["verify", target.uri]) == 0


def test_the_card_follows_from_the_manifest_and_the_place(target: MadeTarget) -> None:
    found = manifest.require(open_store(target.uri))
    on_s3, on_hub = render(found, "s3://gguf/llama").decode(), render(found, "hf://org/name").decode()
    assert str(target.folder) not in (target.folder / "README.md").read_text(), "paths are nobody's business"
    for name in target.files:
        assert f"({name})" in on_s3
    assert "| 3 files |" in on_s3
    assert "aws s3 cp s3://gguf/llama/name-Q4_K_M.gguf ." in on_s3
    assert "--recursive --exclude '*' --include 'name-BF16-*-of-*.gguf'" in on_s3
    assert "ggufactory fetch s3://gguf/llama Q4_K_M" in on_s3
    assert "s3://" not in on_hub
    assert "hf download org/name --include 'name-BF16-*-of-*.gguf'" in on_hub
    assert "ollama run hf.co/org/name:Q4_K_M" in on_hub
    rows = [line for line in on_hub.splitlines() if line.startswith("| [name")]
    assert ["BF16" in rows[0], "Q8" in rows[1], "Q4" in rows[2]] == [True] * 3, "the largest first"


def test_names_and_licenses_of_strangers_mean_nothing_in_markdown(tmp_path: Path) -> None:
    bad = "a|b\n```\n<script>`x`[y](javascript:z)*"
    made_target(tmp_path, {"Q8_0": 10}, name=bad, source={
        "uri": f"/x/{bad}", "architecture": bad, "parameters": 1, "files": [],
        "card": {"license": "mit\n---\n# Evil", "tags": ["a: b", "- c"]},
    })  # fmt: skip
    card = (tmp_path / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    body = re.sub(r"(?ms)^```.*?^```$", "", card)
    assert front["license"] == "mit --- # Evil"
    assert front["tags"][-2:] == ["a: b", "- c"]
    assert "<script>" not in body
    assert "](javascript" not in body
    row = next(line for line in body.splitlines() if line.startswith("| [name"))
    assert row.replace("\\|", "").count("|") == 8


def test_two_models_in_one_target(tmp_path: Path) -> None:
    target = made_target(tmp_path, {"Q8_0": 10})
    store = open_store(target.uri)
    info = store.put("other-Q8_0.gguf", b"other")
    assert info is not None
    (entry,) = manifest.read(store)[0].values()
    other = {**entry, "file": "other-Q8_0.gguf", "name": "other", "bytes": 5, "etag": info.etag}
    manifest.merge(store, {"other-Q8_0.gguf": other}, CardHeader())
    release.release(store, None, lambda message: None)
    card = (tmp_path / "README.md").read_text()
    assert "# name, other GGUF" in card
    assert main(["fetch", target.uri, "Q8_0", "--to", str(tmp_path / "got")]) == 2


def test_an_importance_matrix_is_a_file_and_no_rung(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = made_target(tmp_path / "out", {"Q8_0": 10})
    store = open_store(target.uri)
    info = store.put("name.imatrix.gguf", b"matrix")
    assert info is not None
    (entry,) = manifest.read(store)[0].values()
    gone = ("name", "file_type", "recipe", "options")
    made = {key: value for key, value in entry.items() if key not in gone}
    digest = hashlib.sha256(b"matrix").hexdigest()
    made.update(file="name.imatrix.gguf", rung="imatrix", bytes=6, etag=info.etag, sha256=digest)
    made.update(imatrix=None, calibration={"chunks": 3}, types={"F32": 4}, crc32=f"{zlib.crc32(b'matrix'):08x}")
    manifest.merge(store, {"name.imatrix.gguf": made})
    release.release(store, None, lambda message: None)
    card = (target.folder / "README.md").read_text()
    assert "that they were made with: [name.imatrix.gguf](name.imatrix.gguf) (0.01 kB)" in card
    assert card.count("| [name") == 1
    assert "# name GGUF" in card
    assert main(["verify", target.uri]) == 0
    assert main(["fetch", target.uri, "imatrix", "--to", str(tmp_path / "got")]) == 0
    assert (tmp_path / "got" / "name.imatrix.gguf").read_bytes() == b"matrix"
