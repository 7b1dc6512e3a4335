"""What a job is asked to do: from flags, from a YAML file with the same fields, or from both."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from ggufactory.errors import InputError

DEVICES = ("auto", "cpu", "cuda")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMG]?)(?:i?B)?", re.IGNORECASE)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_JOB_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """One job. InputError on construction for values that cannot be meant."""

    source: str
    ladder: tuple[str, ...]
    to: str | None = None
    """The target; None for a plan that is only printed."""
    imatrix: str | None = None
    name: str | None = None
    """Of the files; None: the last part of the source's path."""
    ray_address: str | None = None
    workers: int | None = None
    """Spans at once on an embedded Ray; None: one per core."""
    device: str = "auto"
    span_bytes: int | None = None
    """Wished source bytes of a span; None: by the model's size."""
    allow_requantize: bool = False
    """Also from tensors that are already quantized."""

    def __post_init__(self) -> None:
        if not self.ladder:
            raise InputError("the ladder is empty", fix="Name at least one rung: --ladder Q8_0,Q4_K_M")
        if self.workers is not None and self.workers < 1:
            raise InputError(f"workers: wanted 1 or more, found {self.workers}")
        if self.device not in DEVICES:
            raise InputError(f"device: wanted one of {', '.join(DEVICES)}, found {self.device!r}")
        if self.span_bytes is not None and self.span_bytes < 1:
            raise InputError(f"span_size: wanted 1 byte or more, found {self.span_bytes}")
        if self.name is not None and (not self.name.strip() or "/" in self.name or self.name.startswith(".")):
            raise InputError(f"name: wanted a file name without '/' and not beginning with '.', found {self.name!r}")

    def require_target(self) -> str:
        if self.to is None:
            raise InputError("no target", fix="Say where the files go: --to FOLDER or --to s3://bucket/prefix")
        return self.to


def load_job(path: str) -> dict[str, Any]:
    """The fields of a job file, checked against JobSpec's names and types.

    Paths in it are as they would be on the command line: relative to where the command runs.
    """
    try:
        text = Path(path).read_bytes()[:_JOB_LIMIT]
        loaded = yaml.safe_load(text)
    except (OSError, yaml.YAMLError) as error:
        reason = str(error).replace("\n", " ")
        raise InputError(f"job file {path} cannot be read: {reason}") from error
    if not isinstance(loaded, Mapping):
        raise InputError(
            f"job file {path}: wanted fields such as `source:` and `ladder:`, found {type(loaded).__name__}"
        )
    return {str(key): _field(path, str(key), value) for key, value in loaded.items()}


def _field(path: str, key: str, value: object) -> object:
    known = [f.name for f in fields(JobSpec) if f.name != "span_bytes"] + ["span_size"]
    if key not in known:
        raise InputError(f"job file {path}: unknown field {key!r}", fix=f"Known: {', '.join(known)}")
    if key == "ladder":
        rungs = value.split(",") if isinstance(value, str) else value
        if not isinstance(rungs, list) or not all(isinstance(r, str) for r in rungs):
            raise InputError(f"job file {path}: ladder: wanted a list of rungs, found {value!r}")
        return tuple(r.strip() for r in rungs if r.strip())
    if key == "workers" and (not isinstance(value, int) or isinstance(value, bool)):
        raise InputError(f"job file {path}: workers: wanted a whole number, found {value!r}")
    if key == "allow_requantize" and not isinstance(value, bool):
        raise InputError(f"job file {path}: allow_requantize: wanted true or false, found {value!r}")
    if key not in ("workers", "span_size", "allow_requantize") and not isinstance(value, str):
        raise InputError(f"job file {path}: {key}: wanted text, found {value!r}")
    return value


def parse_size(text: str) -> int:
    """Bytes from "64M", "1.5 GiB" or a plain number; K, M and G are powers of 1024."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise InputError(f"size {text!r}: wanted a number and K, M or G, such as 64M")
    return int(float(match[1]) * _UNITS[match[2].upper()])
