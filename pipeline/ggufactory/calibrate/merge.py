"""Several importance files as one, as `llama-imatrix --in-file … --in-file …` makes it.

Source: llama.cpp, `IMatrixCollector::load_imatrix` in `tools/imatrix/imatrix.cpp`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ggufactory.calibrate.sums import MAX_COUNT, ActivationSums, ImatrixFile, check_sums
from ggufactory.errors import InputError

_DEFAULT_CHUNK_SIZE = 512
"""Tokens of a chunk where no file tells: llama-imatrix's own default."""


def merge(files: Sequence[tuple[str, ImatrixFile]], chunk_size: int | None = None) -> ImatrixFile:
    """The sum of named files, in their order, as sums of tokens.

    A chunk has `chunk_size` tokens, or as many as the first file tells that does. One file gives what
    llama-imatrix has in memory after reading it. InputError when an entry has another size in each, or
    the sums grow out of float32.
    """
    chunk = chunk_size or next((file.chunk_size for _, file in files if file.chunk_size), _DEFAULT_CHUNK_SIZE)
    merged: dict[str, ActivationSums] = {}
    for name, file in files:
        for entry, sums in file.entries.items():
            with np.errstate(over="ignore"):
                scaled = _of_tokens(sums, chunk)
                merged[entry] = _add(merged[entry], scaled, entry, name) if entry in merged else scaled
            _check(merged[entry], entry, name)
    most = max((int(sums.counts.max()) for sums in merged.values()), default=0)
    datasets = tuple(dataset for _, file in files for dataset in file.datasets)
    return ImatrixFile(datasets, most // chunk, chunk, merged)


def _of_tokens(sums: ActivationSums, chunk_size: int) -> ActivationSums:
    if sums.zero_count_is_unseen:
        return sums
    # A legacy file keeps sums per chunk; a whole chunk's tokens stand behind each.
    return ActivationSums(sums.sums * np.float32(chunk_size), sums.counts * chunk_size, True)


def _add(one: ActivationSums, other: ActivationSums, entry: str, name: str) -> ActivationSums:
    rows = max(len(one.counts), len(other.counts))
    if one.sums.size != other.sums.size or {len(one.counts), len(other.counts)} - {1, rows}:
        raise InputError(
            f"{name}: the entry {entry} is {list(other.sums.shape)}, in the files before it {list(one.sums.shape)}",
            fix="Merge files of one model",
        )
    # A legacy file has one count for all matrices of an entry: it holds for each of them.
    sums = one.sums.reshape(rows, -1) + other.sums.reshape(rows, -1)
    return ActivationSums(sums, one.counts + other.counts, True)


def _check(sums: ActivationSums, entry: str, name: str) -> None:
    check_sums(sums.sums.reshape(-1), entry, name)
    if int(sums.counts.max()) > MAX_COUNT:
        raise InputError(
            f"{name}: the entry {entry} counts {int(sums.counts.max()):,} tokens, at most {MAX_COUNT:,} can be right",
            fix="The file is damaged",
        )
