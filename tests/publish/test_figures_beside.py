"""Pictures and report beside the artifacts: there when something was measured, right, kept, and gone with it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ggufactory.cli import main
from ggufactory.publish import manifest, pictures
from ggufactory.publish.measured import models_of
from ggufactory.storage import open_store
from hub_server import HubServer
from made_targets import MadeTarget, entry, made_target
from measured_targets import HYPERPARAMETERS, add_figures, made_errors, recorded_quality

FIGURES = ("name.quality.svg", "name.quality.png", "name.errors.svg", "name.errors.png", "report.html")
RUNGS = ("Q8_0", "Q4_K_M")


def measure(uri: str) -> None:
    fields = {rung: {"quality": recorded_quality(rung), "errors": made_errors(0.01, 2)} for rung in RUNGS}
    add_figures(uri, {rung: {**found, "hyperparameters": HYPERPARAMETERS} for rung, found in fields.items()})


@pytest.fixture(scope="module", autouse=True)
def drawn_once() -> Iterator[None]:
    """The same picture is drawn once for all tests."""
    drawn: dict[str, bytes] = {}

    def kept(draw: Callable[..., bytes]) -> Callable[..., bytes]:
        def remembered(*told: object) -> bytes:
            key = f"{draw.__name__} {told}"
            if key not in drawn:
                drawn[key] = draw(*told)
            return drawn[key]

        return remembered

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "draw_quality", kept(pictures.draw_quality))
        patch.setattr(pictures, "draw_errors", kept(pictures.draw_errors))
        yield


@pytest.fixture
def target(tmp_path: Path) -> MadeTarget:
    made = made_target(tmp_path / "out", {"Q8_0": 5000, "Q4_K_M": 3000}, split={"BF16": [10, 8000]})
    measure(made.uri)
    return made


def times(target: MadeTarget) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in target.folder.iterdir()}


def test_drawn_listed_and_shown_in_the_card(target: MadeTarget) -> None:
    listed = (target.folder / "SHA256SUMS").read_text()
    card = (target.folder / "README.md").read_text()
    for name in FIGURES:
        assert (target.folder / name).is_file(), name
        assert f"  {name}\n" in listed
    done = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=target.folder, capture_output=True)
    assert done.returncode == 0
    assert re.search(r"!\[Size of each file against .+ from Q8.+ to Q4.+\]\(name\.quality\.png\)", card)
    assert re.search(r"!\[Heat maps of the relative error .+ of 2 files\]\(name\.errors\.png\)", card)
    assert "[report.html](report.html)" in card
    assert main(["verify", target.uri]) == 0


def test_card_and_report_tell_how_the_models_computed(target: MadeTarget) -> None:
    rounded = "activations rounded to eight bits as llama.cpp"
    assert not any(rounded in (target.folder / name).read_text() for name in ("README.md", "report.html"))
    quality = {"quality": {**recorded_quality("Q8_0"), "activations": "as-llama.cpp"}}
    add_figures(target.uri, {"Q8_0": quality})
    assert all(rounded in (target.folder / name).read_text() for name in ("README.md", "report.html"))


def test_again_draws_and_writes_nothing(target: MadeTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another release of matplotlib would draw other bytes: what is there and right stays."""
    before = times(target)
    monkeypatch.setattr(pictures, "draw_quality", lambda *_: pytest.fail("drawn"))
    monkeypatch.setattr(pictures, "draw_errors", lambda *_: pytest.fail("drawn"))
    assert main(["card", target.uri]) == 0
    assert times(target) == before


def test_what_is_missing_is_drawn_as_it_was(target: MadeTarget) -> None:
    before = {name: (target.folder / name).read_bytes() for name in FIGURES}
    for name in FIGURES:
        (target.folder / name).unlink()
    assert main(["verify", target.uri]) == 2
    assert main(["card", target.uri]) == 0
    assert {name: (target.folder / name).read_bytes() for name in FIGURES} == before


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda data: data + b" ", "is not the one that SHA256SUMS lists"),
        (
            lambda data: data.replace(b"ggufactory figures ", b"ggufactory figures 0"),
            "is not that of this manifest.json",
        ),
    ],
)
@pytest.mark.parametrize("name", ["name.errors.svg", "name.quality.png", "report.html"])
def test_what_was_changed_is_found_and_made_anew(
    target: MadeTarget,
    name: str,
    change: Callable[[bytes], bytes],
    fault: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = target.folder / name
    whole = path.read_bytes()
    path.write_bytes(change(whole))
    assert main(["verify", target.uri]) == 2
    assert f"FAILED {fault}" in next(line for line in capsys.readouterr().out.splitlines() if line.startswith(name))
    assert main(["card", target.uri]) == 0
    assert path.read_bytes() == whole
    assert main(["verify", target.uri]) == 0


def test_other_figures_other_pictures(target: MadeTarget) -> None:
    before = {name: (target.folder / name).read_bytes() for name in FIGURES}
    add_figures(target.uri, {"Q8_0": {"quality": {**recorded_quality("Q8_0"), "kld_mean": 0.5}}})
    after = {name: (target.folder / name).read_bytes() for name in FIGURES}
    assert [name for name in FIGURES if after[name] != before[name]] == [FIGURES[0], FIGURES[1], FIGURES[4]]
    assert main(["verify", target.uri]) == 0


def test_what_others_put_there_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = made_target(tmp_path, {"Q8_0": 5000, "Q4_K_M": 3000})
    (tmp_path / "report.html").write_text("my own")
    measure(target.uri)
    assert (tmp_path / "report.html").read_text() == "my own"
    assert "report.html" not in (tmp_path / "SHA256SUMS").read_text()
    assert main(["card", target.uri]) == 0
    assert "report.html was not made by ggufactory" in capsys.readouterr().err
    assert main(["verify", target.uri]) == 0


def test_they_go_with_the_figures(target: MadeTarget, capsys: pytest.CaptureFixture[str]) -> None:
    """A rung that was made anew has other weights than those that were measured."""
    made_target(target.folder, {"Q8_0": 5001, "Q4_K_M": 3001}, keep=True)
    assert not [name for name in FIGURES if (target.folder / name).exists()]
    assert "report.html" not in (target.folder / "SHA256SUMS").read_text()
    assert "![" not in (target.folder / "README.md").read_text()
    assert main(["verify", target.uri]) == 0


def test_two_models_have_their_own_pictures_and_one_report(target: MadeTarget) -> None:
    store = open_store(target.uri)
    info = store.put("other-Q4_0.gguf", b"other")
    assert info is not None
    first = manifest.read(store)[0]["name-Q8_0.gguf"]
    other = {**first, "file": "other-Q4_0.gguf", "name": "other", "rung": "Q4_0", "bytes": 5, "etag": info.etag}
    manifest.merge(store, {"other-Q4_0.gguf": {**other, "quality": recorded_quality("Q4_0")}})
    assert main(["card", target.uri]) == 0
    assert {"name.quality.svg", "other.quality.svg"} <= {path.name for path in target.folder.glob("*.svg")}
    report = (target.folder / "report.html").read_text()
    assert "<h2>name</h2>" in report
    assert "<h2>other</h2>" in report


def test_published_with_them(target: MadeTarget, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_writes")
    hub.write_token = "hf_writes"
    assert main(["publish", target.uri, "--hub", "org/name-GGUF", "--yes"]) == 0
    repository = hub.repositories["org/name-GGUF"]
    files = repository.commits[repository.refs["main"]]
    for name in (*FIGURES, "SHA256SUMS"):
        assert files[name] == (target.folder / name).read_bytes(), name
    assert main(["verify", "hf://org/name-GGUF"]) == 0


def test_a_target_without_figures_pays_nothing(tmp_path: Path) -> None:
    target = made_target(tmp_path, {"Q8_0": 10})
    script = (
        "import sys; from ggufactory.cli import main; (tmp := main(['card', sys.argv[1]]));"
        "print(sorted({'matplotlib', 'torch', 'ray'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script, target.uri], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "fields",
    [
        {"quality": {**recorded_quality("Q8_0"), "kld_mean": "0.1"}},
        {"quality": {**recorded_quality("Q8_0"), "kld_mean": float("inf")}},
        {"quality": {**recorded_quality("Q8_0"), "kld_99": float("nan")}},
        {"quality": {**recorded_quality("Q8_0"), "perplexity": 1e300}},
        {"quality": {**recorded_quality("Q8_0"), "same_top": True}},
        {"quality": [1, 2]},
        {"errors": {"blk.0.attn_q.weight": -1}},
        {"errors": {"blk.0.attn_q.weight": "x", "y": None, "z": [1], "u": float("nan")}},
        {"errors": 5},
        {"errors": {}},
    ],
)
def test_figures_that_cannot_be_meant_are_none(fields: dict[str, object]) -> None:
    (model,) = models_of({"x": {**entry("name-Q8_0.gguf", b"x", "1"), **fields}})
    assert not model.has_figures
