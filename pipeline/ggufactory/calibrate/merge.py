"""Several importance files as one, as `llama-imatrix --in-file … --in-file …` makes it.

Source: llama.cpp, `IMatrixCollector::load_imatrix` in `tools/imatrix/imatrix.cpp`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ggufactory.calibrate.sums import ActivationSums, ImatrixFile
from ggufactory.errors import InputError

_DEFAULT_CHUNK_SIZE = 512
"""Tokens of a chunk where no file tells: llama-imatrix's own default."""


def merge(files: Sequence[tuple[str, ImatrixFile]]) -> ImatrixFile:
    """The sum of named files, in their order. InputError when an entry has another size in each."""
    chunk_size = next((file.chunk_size for _, file in files if file.chunk_size), _DEFAULT_CHUNK_SIZE)
    merged: dict[str, ActivationSums] = {}
    for name, file in files:
        for entry, sums in file.entries.items():
            # A legacy file keeps sums per chunk; a whole chunk's tokens stand behind each.
            scale = 1 if sums.zero_count_is_unseen else chunk_size
            scaled = ActivationSums(sums.sums * np.float32(scale), sums.counts * scale, True)
            merged[entry] = _add(merged[entry], scaled, entry, name) if entry in merged else scaled
    most = max((int(sums.counts.max()) for sums in merged.values()), default=0)
    datasets = tuple(dataset for _, file in files for dataset in file.datasets)
    return ImatrixFile(datasets, most // chunk_size, chunk_size, merged)


def _add(one: ActivationSums, other: ActivationSums, entry: str, name: str) -> ActivationSums:
    if one.sums.shape != other.sums.shape:
        raise InputError(
            f"{name}: the entry {entry} is {list(other.sums.shape)}, in the files before it {list(one.sums.shape)}",
            fix="Merge files of one model and one format",
        )
    return ActivationSums(one.sums + other.sums, one.counts + other.counts, True)
