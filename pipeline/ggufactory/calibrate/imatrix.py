"""An importance matrix as llama-quantize understands it: read from a file, checked, divided by its counts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from ggufactory.calibrate.imatrix_file import read_imatrix_file
from ggufactory.calibrate.merge import merge
from ggufactory.calibrate.record import CalibrationRecord, record_of
from ggufactory.calibrate.sums import ActivationSums, ImatrixFile
from ggufactory.errors import InputError


@dataclass(frozen=True)
class ImportanceMatrix:
    """Per tensor, the mean squared activation of each input column: what quantizers weigh errors by.

    For the header that llama-quantize writes (tools/quantize/quantize.cpp): `quantize.imatrix.file` is
    `file`; `.dataset` is the first of `datasets` and absent without one; `.entries_count` is the number
    of `entries`; `.chunks_count` is `chunk_count` and absent when that is 0. It cuts the strings at 127
    bytes and writes the numbers as UINT32.
    """

    file: str
    """The file's base name."""
    sha256: str
    """Of the whole file, in hexadecimal."""
    datasets: tuple[str | bytes, ...]
    """Names of the calibration texts; bytes where they are not UTF-8."""
    chunk_count: int
    entries: Mapping[str, npt.NDArray[np.float32]]
    """Tensor name -> values [matrices, columns], finite and not negative; sorted by name.

    A file keeps one row for each count that it keeps. Legacy files, and tensors of several matrices
    that are not routed, have one count: all matrices lie in one row. `for_tensor` gives the right shape.
    """
    unseen: Mapping[str, tuple[int, ...]]
    """Tensor name -> the matrices (experts) that the calibration text never reached; their values are 1."""
    record: CalibrationRecord | None = None
    """How a calibration of ours made the file."""
    promise: str = ""
    """Of a matrix that is yet to be made, whose entries have no values of their own: what will make it."""

    def for_tensor(self, name: str, matrices: int, columns: int) -> npt.NDArray[np.float32] | None:
        """The values of a tensor of that many matrices and columns as [matrices, columns]; None when there
        is no entry for it. InputError when the entry is of another size."""
        values = self.entries.get(name)
        if values is None:
            return None
        if values.size != matrices * columns:
            raise InputError(
                f"{self.file}: the entry {name} has {values.size:,} values, but the tensor needs "
                f"{matrices * columns:,} ({matrices} x {columns})",
                fix="The importance matrix was made for another model",
            )
        return values.reshape(matrices, columns)


def read_importance_matrix(uri: str) -> ImportanceMatrix:
    """Read a file that llama-imatrix wrote, GGUF or legacy (.dat), local, `s3://bucket/key` or `hf://org/name/file`.

    InputError, naming the entry, for a file that is damaged or holds values that cannot be used.
    """
    read = read_imatrix_file(uri)
    return _divided(read.name, read.sha256, read.content)


def read_importance_matrices(uris: Sequence[str]) -> ImportanceMatrix:
    """Several files as one: sums and counts are added, as `llama-imatrix --in-file` does.

    `file` is then all base names joined by commas, and `sha256` the hash of the files' hashes.
    """
    if len(uris) == 1:
        return read_importance_matrix(uris[0])
    read = [read_imatrix_file(uri) for uri in uris]
    names = ",".join(file.name for file in read)
    digest = hashlib.sha256("".join(file.sha256 for file in read).encode()).hexdigest()
    return _divided(names, digest, merge([(file.name, file.content) for file in read]))


def _divided(name: str, sha256: str, parsed: ImatrixFile) -> ImportanceMatrix:
    divided = {entry: _divide(sums) for entry, sums in sorted(parsed.entries.items())}
    unseen = {entry: _unseen(sums) for entry, sums in sorted(parsed.entries.items())}
    return ImportanceMatrix(
        file=name,
        sha256=sha256,
        datasets=parsed.datasets,
        chunk_count=parsed.chunk_count,
        entries=MappingProxyType(divided),
        unseen=MappingProxyType({entry: matrices for entry, matrices in unseen.items() if matrices}),
        record=record_of(parsed),
    )


def _divide(sums: ActivationSums) -> npt.NDArray[np.float32]:
    """load_imatrix of tools/quantize/quantize.cpp: single precision; a matrix without activations gets ones
    in a GGUF file, and in a legacy file (which holds ones already) is left as it is."""
    counts = sums.counts.astype(np.float32)[:, np.newaxis]
    values = np.divide(sums.sums, np.where(counts > 0, counts, 1), dtype=np.float32)
    if sums.zero_count_is_unseen:
        values[sums.counts == 0] = 1
    values.flags.writeable = False
    return values


def _unseen(sums: ActivationSums) -> tuple[int, ...]:
    return tuple(int(k) for k in np.flatnonzero(sums.counts == 0)) if sums.zero_count_is_unseen else ()
