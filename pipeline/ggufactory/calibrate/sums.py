"""What both formats of importance matrix files hold: sums of squared activations, and their counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ggufactory.errors import InputError

MAX_ENTRIES = 1_000_000
MAX_COUNT = 1 << 53
"""Tokens of one matrix: far more than any text has, and exact in a float64."""
NOT_AN_IMATRIX = "Give a file that llama-imatrix or `ggufactory calibrate` wrote"


@dataclass(frozen=True, slots=True)
class ActivationSums:
    """One entry: float32 sums [matrices, columns], and for each matrix how much was summed, int64."""

    sums: npt.NDArray[np.float32]
    counts: npt.NDArray[np.int64]
    zero_count_is_unseen: bool
    """A count of 0 says that nothing was summed; a legacy file's says that nothing is to be divided."""


@dataclass(frozen=True, slots=True)
class ImatrixFile:
    datasets: tuple[str | bytes, ...]
    chunk_count: int
    chunk_size: int
    """Tokens of a chunk; 0 where the file does not tell."""
    entries: Mapping[str, ActivationSums]
    record: str = ""
    """What ggufactory's own key tells of a calibration, as it is (`record.py` reads it); empty in other files."""


def check_entry_name(entry: str, file: str, entries: Mapping[str, object]) -> None:
    if not entry or not entry.isprintable():
        raise InputError(f"{file}: {entry[:80]!a} cannot be the name of an entry", fix=NOT_AN_IMATRIX)
    if entry in entries:
        raise InputError(f"{file}: the entry {entry} is there twice", fix="The file is damaged")


def check_sums(sums: npt.NDArray[np.float32], entry: str, file: str) -> None:
    """Every sum is finite and not negative. llama-quantize checks the first only; a negative weight makes
    its searches prefer errors."""
    valid = (sums >= 0) & (sums < np.inf)
    if not valid.all():
        index = int(np.argmin(valid))
        raise InputError(
            f"{file}: the entry {entry} has {int((~valid).sum()):,} values that are not finite or are "
            f"negative; the first is value {index}: {sums[index]}",
            fix="Make the importance matrix again",
        )
