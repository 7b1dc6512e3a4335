"""Merging neighbouring symbols, the best pair first: what both kinds of vocabulary make tokens by.

Source: `llm_tokenizer_spm_session` and `llm_tokenizer_bpe_session` of llama.cpp's src/llama-vocab.cpp, which
differ in what makes a pair the best one only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ggufactory.calibrate.text.character_kinds import code_points

_IN_NO_TEXT = "\ud800"
"""A lone surrogate, which UTF-8 cannot hold."""
Order = Callable[[str, str], float | None]
"""Where a pair of neighbouring symbols comes among all, lowest first; None for a pair that is never merged."""


def merged(word: str, order: Order) -> list[str]:
    """The symbols that are left of a word's characters; of pairs that come alike, the leftmost is merged first."""
    symbols: list[str] = list(word)
    following = [*range(1, len(symbols)), -1]
    preceding = list(range(-1, len(symbols) - 1))
    queue = []
    for left, pair in enumerate(pairwise(symbols)):
        if (place := order(*pair)) is not None:
            queue.append((place, left, left + 1, 2))
    heapify(queue)
    while queue:
        _, left, right, length = heappop(queue)
        # A symbol that was merged since is empty, or longer than it was.
        if not symbols[left] or not symbols[right] or len(symbols[left]) + len(symbols[right]) != length:
            continue
        symbols[left] += symbols[right]
        symbols[right] = ""
        following[left] = after = following[right]
        if after >= 0:
            preceding[after] = left
            _offer(queue, symbols, left, after, order)
        if (before := preceding[left]) >= 0:
            _offer(queue, symbols, before, left, order)
    return [symbol for symbol in symbols if symbol]


def _offer(queue: list[tuple[float, int, int, int]], symbols: list[str], left: int, right: int, order: Order) -> None:
    if (place := order(symbols[left], symbols[right])) is not None:
        heappush(queue, (place, left, right, len(symbols[left]) + len(symbols[right])))


class Seams:
    """Where a text can be cut so that no merge would have joined what lies left and right of the cut.

    The parts are merged by themselves, to the same symbols, and equal parts but once.
    """

    def __init__(self, joined: Iterable[str]) -> None:
        """`joined`: texts whose neighbouring characters some merge may join; no other merge joins any."""
        self._joined = np.unique(_neighbours(_IN_NO_TEXT.join(joined)))

    def cut(self, text: str) -> list[str]:
        pairs = _neighbours(text)
        if not pairs.size:
            return [text] if text else []
        at = np.searchsorted(self._joined, pairs)
        found = self._joined[np.minimum(at, self._joined.size - 1)] == pairs if self._joined.size else pairs < 0
        ends = [*(np.flatnonzero(~found) + 1).tolist(), len(text)]
        return [text[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _neighbours(text: str) -> npt.NDArray[np.int64]:
    codes = code_points(text).astype(np.int64)
    return codes[:-1] << 21 | codes[1:]
