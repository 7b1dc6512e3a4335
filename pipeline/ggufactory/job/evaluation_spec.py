"""What an evaluation is asked to do, and who is told how it goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ggufactory.errors import InputError
from ggufactory.evaluate.arithmetic import EXACT, Arithmetic

DEFAULT_CONTEXT = 512
"""Tokens of a chunk; llama-perplexity's own."""
DEFAULT_HIDDEN_BYTES = 2 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSpec:
    """InputError on construction for values that cannot be meant."""

    places: tuple[str, ...]
    """Targets and GGUF files."""
    source: str
    texts: tuple[str, ...]
    ladder: tuple[str, ...] = ()
    """Of targets, these rungs alone."""
    name: str | None = None
    """Of targets with several models, the files' name."""
    context: int = DEFAULT_CONTEXT
    chunks: int | None = None
    """At most so many; None: as many as the texts have."""
    compute_dtype: str = "float32"
    device: str = "auto"
    """Where layers compute. "auto": a GPU if there is one. The workers of a cluster compute on CPUs."""
    activations: str = EXACT
    """Of rungs: as they are, or rounded as llama.cpp's CPU does."""
    hidden_bytes: int = DEFAULT_HIDDEN_BYTES
    """Hidden states kept in memory, of all models together; more are kept in temporary files."""
    pre_tokenizer: str | None = None
    workers: int = 1
    """Shares of the chunks that are taken through the models at once, each by a worker of an embedded Ray with one
    core. 1: by this process, with all cores."""
    ray_address: str | None = None
    """A cluster to join, with a share for each of its CPUs."""
    restart: bool = False
    """Drop the state of an unfinished evaluation in the same folder."""
    replaces: bool = False
    """Drop the state of an unfinished evaluation in the same folder that is of something else."""

    def __post_init__(self) -> None:
        Arithmetic(compute_dtype=self.compute_dtype, device=self.device, activations=self.activations)
        if self.device == "cuda" and self.on_cluster:
            raise InputError(
                "device cuda: the workers of a cluster compute on CPUs",
                fix="Evaluate in one process, without --workers and --ray-address",
            )
        if self.context < 4:
            raise InputError(f"context: wanted 4 tokens or more, found {self.context}")
        if self.chunks is not None and self.chunks < 1:
            raise InputError(f"chunks: wanted 1 or more, found {self.chunks}")
        if self.hidden_bytes < 0:
            raise InputError(f"hidden memory: wanted 0 bytes or more, found {self.hidden_bytes}")
        if self.workers < 1:
            raise InputError(f"workers: wanted 1 or more, found {self.workers}")

    @property
    def on_cluster(self) -> bool:
        """Whether the chunks are divided among workers of Ray."""
        return self.workers > 1 or bool(self.ray_address)

    @property
    def arithmetic(self) -> Arithmetic:
        """Of whoever computes."""
        device = "cpu" if self.on_cluster else self.device
        return Arithmetic(compute_dtype=self.compute_dtype, device=device, activations=self.activations)


class Watcher(Protocol):
    """Who is told how an evaluation goes."""

    def advanced(self, done: int, total: int) -> None:
        """Of the steps: each is a layer of a model, or the comparison of a rung with the source."""

    def share_done(self, done: int, shares: int) -> None:
        """Of the chunks, where they are divided."""

    def tick(self) -> None:
        """About every second while it waits for a cluster."""

    def warn(self, message: str) -> None: ...
