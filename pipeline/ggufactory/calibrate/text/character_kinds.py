"""A text as one byte per character, so that expressions over Unicode categories become expressions over bytes.

ASCII characters stand for themselves; any other becomes the byte of its kind. Source: `unicode_regex_split`
of llama.cpp's src/unicode.cpp, which collapses texts the same way; Han characters are told apart beside it,
as `unicode_cpt_is_han` does.
"""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import numpy.typing as npt

from ggufactory.calibrate.text.unicode_runs import FIRST, RUNS

_CODE_POINTS = 0x110000
_BYTES = {"N": 0xD1, "L": 0xD2, "P": 0xD3, "M": 0xD4, "S": 0xD5, "W": 0x0B, ".": 0xD0}
"""White space becomes a vertical tab, which is ASCII's and no other character of a text likely holds."""
_HAN_LETTER, _HAN_OTHER = 0xD6, 0xD7
_HAN = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0x2CEB0, 0x2EBEF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
_RUN = re.compile(r"([A-Z.])([0-9a-f]+)")

_LETTERS = r"\xd2\xd6"
CATEGORIES = {
    "L": "A-Za-z" + _LETTERS,
    "L-[a-z]": "A-Z" + _LETTERS,
    "L-[A-Z]": "a-z" + _LETTERS,
    "N": r"0-9\xd1",
    "P": r"!-#%-*,-/:;?@\[-\]_{}\xd3",
    "M": r"\xd4",
    "S": r"$+<->\^`|~\xd5",
    "Han": r"\xd6\xd7",
}
"""Unicode categories as what stands between the brackets of an expression over bytes."""


def kinds_of(text: str) -> bytes:
    """As many bytes as `text` has characters."""
    return _kinds()[code_points(text)].tobytes()


def code_points(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def with_ascii_spaces(text: str) -> str:
    """The text with a vertical tab for every white space beyond ASCII: expressions know no other."""
    return text.translate(_spaces())


@cache
def _spaces() -> dict[int, str]:
    return {int(c): "\x0b" for c in np.flatnonzero(_kinds() == _BYTES["W"]) if c >= FIRST}


@cache
def _kinds() -> npt.NDArray[np.uint8]:
    runs = _RUN.findall(RUNS)
    kinds = np.empty(_CODE_POINTS, np.uint8)
    kinds[:FIRST] = range(FIRST)
    kinds[FIRST:] = np.repeat([_BYTES[kind] for kind, _ in runs], [int(count, 16) for _, count in runs])
    for first, last in _HAN:
        han = kinds[first : last + 1]
        han[:] = np.where(han == _BYTES["L"], _HAN_LETTER, _HAN_OTHER)
    return kinds
