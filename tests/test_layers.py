"""Imports go one way, and the heavy libraries stay where they belong."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pipeline" / "ggufactory"

LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"__main__"}),
    frozenset({"cli"}),
    frozenset({"observe"}),
    frozenset({"job"}),
    frozenset({"cluster", "assemble", "publish"}),
    frozenset({"plan"}),
    frozenset({"evaluate", "choice"}),
    frozenset({"calibrate"}),
    frozenset({"architectures"}),
    frozenset({"checkpoint"}),
    frozenset({"storage", "container"}),
    frozenset({"errors", "interrupts", "metrics", "reference", "__init__"}),
)
"""From the top down: a module imports its own part and lower layers only."""

ONLY_IN = {
    "ray": "cluster",
    "boto3": "storage",
    "botocore": "storage",
    "huggingface_hub": "storage",
    "httpx2": "storage",
    "minisign": "publish",
    "prometheus_client": "observe",
}


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _layer(part: str) -> int:
    found = [number for number, parts in enumerate(LAYERS) if part in parts]
    assert len(found) == 1, f"{part} has no layer: name it in LAYERS"
    return found[0]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    own = _part(path)
    for name in _imports(path):
        package, _, rest = name.partition(".")
        home = ONLY_IN.get(package)
        assert home in (None, own), f"imports {name}, which belongs to {home}/"
        if package == "ggufactory" and rest:
            other = rest.partition(".")[0]
            if (PACKAGE / other).exists() or (PACKAGE / f"{other}.py").exists():
                assert other == own or _layer(other) > _layer(own), f"imports {name}"


@pytest.mark.parametrize("path", sorted((ROOT / "kernels").rglob("*.py")), ids=lambda p: p.name)
def test_kernels_know_nothing_of_the_pipeline(path: Path) -> None:
    assert not [name for name in _imports(path) if name.partition(".")[0] == "ggufactory"]
