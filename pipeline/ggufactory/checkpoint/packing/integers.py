"""Integers of a few bits, several in a 32-bit word, the first in its lowest bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ggufactory.checkpoint.packing.number_types import Array, Singles

WORD_BITS = 32


def unpack_columns(words: Array, bits: int, order: Sequence[int] | None = None) -> Singles:
    """`words` [rows, n] (32-bit) as single-precision numbers [rows, n * (32 // bits)].

    `order`: for each of a word's numbers, which of those in the word it is, where they are interleaved.
    """
    order = range(WORD_BITS // bits) if order is None else order
    unsigned, mask = words.view(np.uint32), np.uint32((1 << bits) - 1)
    numbers = np.empty((*words.shape, len(order)), np.float32)
    for at, stored in enumerate(order):
        numbers[..., at] = unsigned >> np.uint32(bits * stored) & mask
    return numbers.reshape(len(words), -1)


def unpack_rows(words: Array, bits: int) -> Singles:
    """`words` [n, columns] as numbers [n * (32 // bits), columns]: a word holds a run of a column."""
    per_word = WORD_BITS // bits
    unsigned, mask = words.view(np.uint32), np.uint32((1 << bits) - 1)
    numbers = np.empty((len(words), per_word, words.shape[1]), np.float32)
    for at in range(per_word):
        numbers[:, at] = unsigned >> np.uint32(bits * at) & mask
    return numbers.reshape(-1, words.shape[1])
