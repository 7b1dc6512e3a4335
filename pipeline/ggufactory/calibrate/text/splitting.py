"""Splitting a text into words, step by step: each step splits the words of the one before.

A step's matches are words, and so is what lies between two matches. Source: `unicode_regex_split` and
`unicode_regex_split_stl` of llama.cpp's src/unicode.cpp; its hand-written splitters, save those named below,
do what their expressions say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from ggufactory.calibrate.text.character_kinds import CATEGORIES, kinds_of, with_ascii_spaces

_CATEGORY = re.compile(r"\\p\{(.+?)\}")
_NUMBERS = re.compile(rf"[{CATEGORIES['N']}]+".encode())
_DIGITS = re.compile(rb"[0-9]+")
_ASCII_SPACE = b" \t\n\v\f\r"


@dataclass(frozen=True, slots=True)
class Subject:
    """A text in the two forms that expressions match; both have one unit per character."""

    kinds: bytes
    text: str


Step = str | Callable[[Subject, int, int], list[int]]
r"""An expression or, where none does the same in linear time, a function from a word to the ends of its parts.

In an expression, `\p{…}` names a category of `CATEGORIES` and stands between brackets. One of ASCII alone
sees characters beyond it by their kind; any other names single characters, and sees white space by its kind only.
"""


def split(text: str, steps: Sequence[Step]) -> list[str]:
    """The words of a text; joined, they are the text."""
    subject = Subject(kinds_of(text), with_ascii_spaces(text))
    ends = [len(text)] if text else []
    for step in steps:
        ends = _split_further(subject, ends, step)
    starts = [0, *ends[:-1]]
    return [text[start:end] for start, end in zip(starts, ends, strict=False)]


def grouped_from_the_right(subject: Subject, start: int, stop: int) -> list[int]:
    """Numbers in groups of three, the first one shorter and with all that stands before it: the splitter for
    AFMoE's digits (`unicode_regex_split_custom_afmoe`) leaves no end between."""
    ends: list[int] = []
    for number in _NUMBERS.finditer(subject.kinds, start, stop):
        first, last = number.span()
        ends += range(first + ((last - first) % 3 or 3), last + 1, 3)
    return _closed(ends, stop)


def split_before_thousands(subject: Subject, start: int, stop: int) -> list[int]:
    """Before every ASCII digit that has a multiple of three of them from itself on: (?=([0-9]{3})+(?![0-9]))."""
    ends: list[int] = []
    for number in _DIGITS.finditer(subject.kinds, start, stop):
        first, last = number.span()
        ends += [at for at in range(first + (last - first) % 3, last, 3) if at > start]
    return _closed(ends, stop)


def trailing_space(subject: Subject, start: int, stop: int) -> list[int]:
    r"""White space at a word's end: \s+$."""
    kept = start + len(subject.kinds[start:stop].rstrip(_ASCII_SPACE))
    return _closed([kept] if start < kept else [], stop)


def _closed(ends: list[int], stop: int) -> list[int]:
    if not ends or ends[-1] < stop:
        ends.append(stop)
    return ends


def _split_further(subject: Subject, ends: list[int], step: Step) -> list[int]:
    further: list[int] = []
    start = 0
    for end in ends:
        further += _matches(subject, start, end, step) if isinstance(step, str) else step(subject, start, end)
        start = end
    return further


def _matches(subject: Subject, start: int, stop: int, expression: str) -> list[int]:
    if expression.isascii():
        found = _over_kinds(expression).finditer(subject.kinds, start, stop)
        return _ends([match.span() for match in found], start, stop)
    named = _over_text(expression).finditer(subject.text, start, stop)
    return _ends([match.span() for match in named], start, stop)


def _ends(spans: list[tuple[int, int]], start: int, stop: int) -> list[int]:
    ends: list[int] = []
    at = start
    for first, last in spans:
        if first > at:
            ends.append(first)
        ends.append(last)
        at = last
    return _closed(ends, stop)


@cache
def _over_kinds(expression: str) -> re.Pattern[bytes]:
    return re.compile(_CATEGORY.sub(lambda found: CATEGORIES[found[1]], expression).encode("latin-1"))


@cache
def _over_text(expression: str) -> re.Pattern[str]:
    return re.compile(expression, re.ASCII)
