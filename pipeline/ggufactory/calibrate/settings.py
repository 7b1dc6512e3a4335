"""What a job may say about the calibration that makes its importance matrix."""

from __future__ import annotations

from dataclasses import dataclass

from ggufactory.calibrate.coverage import AS_LLAMA_CPP, Coverage
from ggufactory.calibrate.text.default_text import DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSettings:
    """None where nothing is said: then as `ggufactory calibrate` has it."""

    texts: tuple[str, ...] = (DEFAULT,)
    context: int | None = None
    chunks: int | None = None
    compute_dtype: str | None = None
    hidden_bytes: int | None = None
    coverage: Coverage = AS_LLAMA_CPP
