"""What a matrix of ours tells of how it was made: one metadata key, JSON, of the GGUF file.

llama.cpp asks a file for the keys that it knows (common/imatrix-loader.cpp) and passes over this one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ggufactory.calibrate.coverage import Coverage, Thin
from ggufactory.calibrate.sums import ImatrixFile
from ggufactory.errors import InputError

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRecord:
    """`fingerprint` is equal for calibrations that make the same file."""

    fingerprint: str
    made_by: str
    """The release of ggufactory."""
    texts: tuple[tuple[str, str], ...]
    """Names, and SHA-256 in hexadecimal, of the calibration texts."""
    context: int
    compute_dtype: str
    perplexity: float
    coverage: Coverage
    thin: Thin
    """The tokens that really reached each thin expert."""
    unreached: Mapping[str, str]
    """Tensors of layers that never ran, and what stands in for their activations: `ones` or `prior`."""

    def as_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}


def encode_record(record: CalibrationRecord) -> str:
    return json.dumps(record.as_json(), separators=(",", ":"), allow_nan=False)


def record_of(file: ImatrixFile) -> CalibrationRecord | None:
    """What the file tells; None for a file that tells nothing, or not in a way that is known here."""
    if not file.record:
        return None
    try:
        told = json.loads(file.record)
        if told.pop("format") != FORMAT:
            return None
        return CalibrationRecord(
            fingerprint=str(told["fingerprint"]),
            made_by=str(told["made_by"]),
            texts=tuple((str(name), str(digest)) for name, digest in told["texts"]),
            context=int(told["context"]),
            compute_dtype=str(told["compute_dtype"]),
            perplexity=float(told["perplexity"]),
            coverage=Coverage(**told["coverage"]),
            thin={str(e): {int(k): int(n) for k, n in of.items()} for e, of in told["thin"].items()},
            unreached={str(tensor): str(what) for tensor, what in told["unreached"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InputError):
        return None
