"""Resolved configurations, kept on disk: transformers, which resolves them, takes seconds to import and 300 MB.

One follows from config.json and the releases of transformers and PyTorch alone, and is kept under their hash. So what
is found here is what would be computed; a folder that cannot be used only costs time.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

Config = dict[str, Any]

_FORMAT = 1
_MOST = 256
"""Configurations, of a few kilobytes each. Of more, the ones that were written first go."""


def kept(raw: Config, resolve: Callable[[Config], Config | None]) -> Config | None:
    """`resolve(raw)` as JSON gives it back (keys are text, tuples are lists), computed once on this machine.

    What is no JSON is computed each time, and so is None, which may have passing reasons.
    """
    try:
        path = folder() / f"{_fingerprint(raw)}.json"
    except (RuntimeError, ValueError):
        return resolve(raw)
    with suppress(OSError, ValueError):
        found = json.loads(path.read_bytes())
        if isinstance(found, dict):
            return found
    resolved = resolve(raw)
    if resolved is None:
        return None
    try:
        text = json.dumps(resolved)
    except (TypeError, ValueError):
        return resolved
    with suppress(OSError):
        _keep(path, text)
    again: Config = json.loads(text)
    return again


def folder() -> Path:
    """`GGUFACTORY_CONFIG_CACHE`, or a folder of the user's cache. RuntimeError where the user has no home."""
    chosen = os.environ.get("GGUFACTORY_CONFIG_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ggufactory" / "configs"


def _fingerprint(raw: Config) -> str:
    releases = [version(package) for package in ("transformers", "torch")]
    return hashlib.sha256(json.dumps([_FORMAT, releases, raw]).encode()).hexdigest()


def _keep(path: Path, text: str) -> None:
    """Whole or not at all: a file appears under its name when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
    there = sorted(path.parent.glob("*.json"), key=lambda file: file.stat().st_mtime)
    for old in there[:-_MOST]:
        old.unlink(missing_ok=True)
