"""What a job is asked to do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ggufactory.calibrate.settings import CalibrationSettings
from ggufactory.checkpoint.source_name import source_name
from ggufactory.errors import InputError
from ggufactory.evaluate.settings import EvaluationSettings
from ggufactory.plan.ladder import Rung
from ggufactory.plan.options import NO_OPTIONS, Options

DEVICES = ("auto", "cpu", "cuda")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """One job. InputError on construction for values that cannot be meant."""

    source: str
    ladder: tuple[str | Rung, ...]
    to: str | None = None
    """The target; None for a plan that is only printed."""
    imatrix: tuple[str, ...] = ()
    """Files of llama-imatrix; several are merged."""
    calibration: CalibrationSettings | None = None
    """Make the importance matrix first, into the target, unless it is there already."""
    evaluation: EvaluationSettings | None = None
    """Compare the rungs with the source once they are made, unless they were."""
    name: str | None = None
    """Of the files; None: the last part of the source's path."""
    ray_address: str | None = None
    workers: int | None = None
    """Spans at once on an embedded Ray; None: one per core."""
    dashboard: bool = False
    """An embedded Ray serves its dashboard."""
    device: str = "auto"
    span_bytes: int | None = None
    """Wished source bytes of a span; None: by the model's size."""
    split_bytes: int | None = None
    """Tensor bytes of a file at most; None: one file a rung."""
    options: Options = NO_OPTIONS
    """For every rung, under its own."""
    prune_layers: tuple[int, ...] = ()
    keep_split: bool = False
    """As many files as the GGUF source has, with the same tensors in each."""
    allow_requantize: bool = False
    """Also from tensors that are already quantized."""
    exact_source: bool = False
    """From the source's own numbers, where the usual way rounds them to BF16 first."""
    pre_tokenizer: str | None = None
    """llama.cpp's name for how a byte-level tokenizer splits text; None: found from its definition."""
    metadata_file: str | None = None
    """A JSON file of `general.*` keys that describe the model."""

    card: str | None = None
    """A Markdown file: what the model card begins with. None: what it has begun with so far."""
    sign_key: str | None = None
    """A file of minisign's secret key, to sign the manifest and the checksums with."""

    def __post_init__(self) -> None:
        if not self.ladder:
            raise InputError("the ladder is empty", fix="Name at least one rung: --ladder Q8_0,Q4_K_M")
        if self.imatrix and self.calibration is not None:
            raise InputError(
                "imatrix and calibrate are both given", fix="Use the matrix that is there, or have one made: not both"
            )
        if self.workers is not None and self.workers < 1:
            raise InputError(f"workers: wanted 1 or more, found {self.workers}")
        if self.device not in DEVICES:
            raise InputError(f"device: wanted one of {', '.join(DEVICES)}, found {self.device!r}")
        for name, size in (("span_size", self.span_bytes), ("split_max_size", self.split_bytes)):
            if size is not None and size < 1:
                raise InputError(f"{name}: wanted 1 byte or more, found {size}")
        if self.keep_split and self.split_bytes is not None:
            raise InputError("keep_split and split_max_size cannot be used together")
        if self.name is not None and (not self.name.strip() or "/" in self.name or self.name.startswith(".")):
            raise InputError(f"name: wanted a file name without '/' and not beginning with '.', found {self.name!r}")

    @property
    def model(self) -> str:
        """What its files are named after."""
        return self.name or source_name(self.source)

    def require_target(self) -> str:
        if self.to is None:
            raise InputError("no target", fix="Say where the files go: --to FOLDER or --to s3://bucket/prefix")
        return self.to


def parse_size(text: str, *, unit: int = 1024) -> int:
    """Bytes from "64M", "1.5 GiB" or a plain number. K, M, G and T are powers of `unit`, Ki, Mi … of 1024."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise InputError(f"size {text!r}: wanted a number and K, M or G, such as 64M")
    return int(float(match[1]) * (1024 if match[3] else unit) ** _POWERS[match[2].upper()])
