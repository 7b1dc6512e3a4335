"""Resolved configurations on disk: what is found is what would be computed, and a bad folder only costs time."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from ggufactory.architectures import configuration, kept_configs
from ggufactory.architectures.configuration import resolve_config
from ggufactory.architectures.kept_configs import kept

TINYLM = json.loads((Path(__file__).parents[1] / "data" / "tinylm" / "config.json").read_text())


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("GGUFACTORY_CONFIG_CACHE", str(tmp_path / "configs"))
    return tmp_path / "configs"


class Resolver:
    """Counts its calls."""

    def __init__(self, **adds: Any) -> None:
        self.calls = 0
        self.adds = adds

    def __call__(self, raw: dict[str, Any]) -> dict[str, Any]:
        self.calls += 1
        return raw | self.adds


def test_found_again_as_it_was_computed(cache: Path) -> None:
    resolve = Resolver(id2label={0: "no", 1: "yes"}, layers=(1, 2), eps=1e-05)
    first = kept({"a": 1}, resolve)
    assert first == {"a": 1, "id2label": {"0": "no", "1": "yes"}, "layers": [1, 2], "eps": 1e-05}
    assert kept({"a": 1}, resolve) == first
    assert resolve.calls == 1
    assert len(list(cache.iterdir())) == 1, "nothing half-written is left"


def test_callers_do_not_share_what_they_change(cache: Path) -> None:
    resolve = Resolver(list=[])
    for _ in range(2):
        found = kept({}, resolve)
        assert found is not None
        found["list"].append(1)
    assert kept({}, resolve) == {"list": []}


@pytest.mark.parametrize("package", ["transformers", "torch"])
def test_another_release_resolves_anew(cache: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    resolve = Resolver()
    kept({"a": 1}, resolve)
    monkeypatch.setattr(kept_configs, "version", lambda name: "other" if name == package else version(name))
    kept({"a": 1}, resolve)
    assert resolve.calls == 2
    kept({"a": 2}, resolve)
    assert resolve.calls == 3


@pytest.mark.parametrize("content", ["", "{", "[1]", '"text"', "\xff"])
def test_damage_is_mended(cache: Path, content: str) -> None:
    resolve = Resolver(b=2)
    kept({"a": 1}, resolve)
    (file,) = cache.iterdir()
    file.write_text(content, encoding="latin-1")
    assert kept({"a": 1}, resolve) == {"a": 1, "b": 2}
    assert kept({"a": 1}, resolve) == {"a": 1, "b": 2}
    assert resolve.calls == 2


def test_where_nothing_can_be_written_it_only_costs_time(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.write_text("a file, not a folder")
    resolve = Resolver()
    assert kept({"a": 1}, resolve) == kept({"a": 1}, resolve) == {"a": 1}
    assert resolve.calls == 2

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for variable in ("GGUFACTORY_CONFIG_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert kept({"a": 1}, resolve) == {"a": 1}


def test_what_is_no_json_is_not_kept(cache: Path) -> None:
    thing = object()
    assert kept({"a": 1}, Resolver(thing=thing)) == {"a": 1, "thing": thing}
    assert not cache.exists()


def test_what_could_not_be_resolved_is_tried_again(cache: Path) -> None:
    assert kept({"a": 1}, lambda raw: None) is None
    assert kept({"a": 1}, Resolver(b=2)) == {"a": 1, "b": 2}


def test_the_oldest_go(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_configs, "_MOST", 3)
    for number in range(6):
        kept({"a": number}, Resolver())
    assert len(list(cache.iterdir())) == 3
    last = Resolver()
    kept({"a": 5}, last)
    assert last.calls == 0


def test_a_known_checkpoint_needs_no_transformers(cache: Path, tinylm: str) -> None:
    resolved = resolve_config(TINYLM)
    assert resolved == json.loads(json.dumps(configuration._through_transformers(TINYLM)))
    code = (
        "import sys; from ggufactory.cli import main; code = main(['plan', sys.argv[1], '--ladder', 'Q8_0']); "
        "print(code, sorted({'transformers', 'torch', 'ray'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code, tinylm], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "0 []"
