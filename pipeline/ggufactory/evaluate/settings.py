"""What a job may say about the evaluation of its ladder."""

from __future__ import annotations

from dataclasses import dataclass

from ggufactory.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """None where nothing is said: then as `ggufactory evaluate` has it. InputError without a text."""

    texts: tuple[str, ...] = ()
    ladder: tuple[str, ...] = ()
    """These rungs of the job alone; empty: all."""
    context: int | None = None
    chunks: int | None = None
    compute_dtype: str | None = None
    hidden_bytes: int | None = None
    device: str | None = None
    activations: str | None = None

    def __post_init__(self) -> None:
        if not self.texts:
            raise InputError(
                "evaluate: no text is given",
                fix="Name one that the importance matrix was not made with: over that, figures flatter the rungs",
            )
