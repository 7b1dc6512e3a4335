"""What a calibration is asked to do, and who is told how it goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ggufactory.calibrate.coverage import AS_LLAMA_CPP, Coverage
from ggufactory.calibrate.distribution import WAYS, Way
from ggufactory.calibrate.imatrix_file import check_format
from ggufactory.calibrate.text.default_text import DEFAULT
from ggufactory.errors import InputError

COMPUTE_DTYPES = ("float32", "bfloat16")
DEVICES = ("auto", "cpu", "cuda")
DEFAULT_CONTEXT = 512
"""Tokens of a chunk; llama-imatrix's own."""
DEFAULT_HIDDEN_BYTES = 2 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSpec:
    """InputError on construction for values that cannot be meant."""

    source: str
    texts: tuple[str, ...] = (DEFAULT,)
    to: str
    """The file to write, .gguf or .dat."""
    context: int = DEFAULT_CONTEXT
    chunks: int | None = None
    """At most so many; None: as many as the texts have. Where coverage asks for more, so many to begin with."""
    coverage: Coverage = AS_LLAMA_CPP
    """What is done about experts that few tokens reach."""
    compute_dtype: str = "float32"
    device: str = "auto"
    """Where layers compute. "auto": a GPU if there is one. The workers of a cluster compute on CPUs."""
    hidden_bytes: int = DEFAULT_HIDDEN_BYTES
    """Hidden states kept in memory; more are kept in a temporary file."""
    pre_tokenizer: str | None = None
    workers: int = 1
    """Of an embedded Ray, each with one core. 1: this process, with all cores."""
    ray_address: str | None = None
    """A cluster to join, with a worker for each of its CPUs."""
    split: Way | None = None
    """What is divided among workers; None: that which moves fewer bytes."""
    restart: bool = False
    """Drop what an unfinished calibration of the same file has left, whatever it was of."""
    replaces: bool = False
    """Drop what an unfinished calibration of the same file left that had other settings."""

    def __post_init__(self) -> None:
        if self.compute_dtype not in COMPUTE_DTYPES:
            raise InputError(f"compute dtype: wanted one of {', '.join(COMPUTE_DTYPES)}, found {self.compute_dtype!r}")
        if self.device not in DEVICES:
            raise InputError(f"device: wanted one of {', '.join(DEVICES)}, found {self.device!r}")
        if self.device == "cuda" and (self.workers > 1 or self.ray_address):
            raise InputError(
                "device cuda: the workers of a cluster compute on CPUs",
                fix="Calibrate in one process, without --workers and --ray-address",
            )
        if self.split is not None and self.split not in WAYS:
            raise InputError(f"split: wanted one of {', '.join(WAYS)}, found {self.split!r}")
        if self.workers < 1:
            raise InputError(f"workers: wanted 1 or more, found {self.workers}")
        if self.context < 2:
            raise InputError(f"context: wanted 2 tokens or more, found {self.context}")
        if self.chunks is not None and self.chunks < 1:
            raise InputError(f"chunks: wanted 1 or more, found {self.chunks}")
        most = self.coverage.most_chunks
        if most is not None and (self.chunks is None or most < self.chunks):
            raise InputError(f"coverage: {most} chunks at most, of {self.chunks or 'all'} to begin with")
        check_format(self.to)


class Watcher(Protocol):
    """Who is told how a calibration goes."""

    def planned(self, how: str) -> None:
        """How the work is divided among workers, and why."""

    def advanced(self, done: int, total: int) -> None:
        """Of the steps: each is a group of chunks that went through a layer, or through the head."""

    def layer_done(self, done: int, layers: int) -> None:
        """All chunks went through it."""

    def share_done(self, done: int, shares: int) -> None:
        """Of the chunks, where they are divided."""

    def tick(self) -> None:
        """About every second while it waits for a cluster."""

    def warn(self, message: str) -> None: ...
