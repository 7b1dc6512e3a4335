"""Every pre-tokenizer that llama.cpp knows splits texts as llama.cpp does.

The vocabulary has a token for each pair of bytes that stand together in the texts, and merges them in an
order of chance: where two words meet, another token follows than within a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ggufactory.architectures.tokenizer.pre_tokenizer_names import NAMES
from ggufactory.calibrate.text import tokenizer_of
from ggufactory.calibrate.text.pre_tokenizers import PRE_TOKENIZERS
from ggufactory.calibrate.text.unicode_runs import FIRST, RUNS
from ggufactory.container.metadata import KeyValue
from ggufactory.errors import InputError
from nasty_texts import NASTY_TEXTS
from sample_vocabularies import BYTE, BYTE_CHARACTERS, BYTE_TOKENS, USER_DEFINED, BothTokenizers, byte_spelling, made

CALIBRATION = (Path(__file__).parents[2] / "data" / "imatrix" / "families" / "calibration.txt").read_text("utf-8")
TEXT = "\n".join((*NASTY_TEXTS, CALIBRATION[:8000]))
WORDS = (" the", "123", "12", "Hello", "'s", "\n\n", "\n\n\n", "  ", "!!!", "中文", "don")
DEFINED = ("<think>", "[INST]", "\n\n\n\n\n")


def _pairs(text: str) -> list[str]:
    pairs = sorted({one + other for one, other in pairwise(text)})
    Random(3).shuffle(pairs)
    return pairs


def _vocabulary(pre: str) -> tuple[KeyValue, ...]:
    if PRE_TOKENIZERS[pre].byte_level:
        pairs, words, single = _pairs(byte_spelling(TEXT)), map(byte_spelling, WORDS), BYTE_CHARACTERS
        types = {}
    else:
        spaced = TEXT.replace(" ", "▁").replace("\0", "")
        pairs = [pair for pair in _pairs(spaced) if "\n" not in pair][::2]
        words, single = map(str, WORDS), [*BYTE_TOKENS, *sorted(set(spaced))[::2]]
        types = dict.fromkeys(BYTE_TOKENS, BYTE)
    tokens = dict.fromkeys((*single, *pairs, *words, *DEFINED))
    merges = [f"{pair[0]} {pair[1]}" for pair in pairs]
    return made("gpt2", tuple(tokens), types | dict.fromkeys(DEFINED, USER_DEFINED), merges=merges, pre=pre)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, BothTokenizers]]:
    folder = tmp_path_factory.mktemp("vocabularies")
    made_ones = {pre: BothTokenizers(_vocabulary(pre), folder) for pre in sorted(PRE_TOKENIZERS)}
    yield made_ones
    for one in made_ones.values():
        one.theirs.close()


def test_all_names_are_known_but_one() -> None:
    """With "whitespace" llama.cpp ends where a text has two spaces."""
    assert NAMES - PRE_TOKENIZERS.keys() == {"whitespace"}


@pytest.mark.parametrize("pre", sorted(PRE_TOKENIZERS))
def test_splitting(pre: str, both: Mapping[str, BothTokenizers]) -> None:
    both[pre].agree_on_beginnings()
    for text in (*NASTY_TEXTS, CALIBRATION):
        both[pre].agree_on(text)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.one_of(st.text(max_size=6), st.sampled_from(TEXT), st.sampled_from(WORDS)), max_size=40).map("".join)
)
def test_splitting_of_any_text(both: Mapping[str, BothTokenizers], text: str) -> None:
    for one in both.values():
        one.agree_on(text)


@pytest.mark.parametrize("pre", ["gpt-2", "qwen35", "deepseek-v3", "kimi-k2"])
def test_kinds_of_characters(pre: str, tmp_path: Path) -> None:
    """The first and the last of every run of characters of a kind, beside letters, digits, signs and spaces."""
    beside = [BYTE_CHARACTERS[byte] for byte in b"a1! \n"]
    pairs = dict.fromkeys(pair for one in BYTE_CHARACTERS for other in beside for pair in (one + other, other + one))
    merges = [f"{pair[0]} {pair[1]}" for pair in pairs]
    tokenizers = BothTokenizers(made("gpt2", (*BYTE_CHARACTERS, *pairs), merges=merges, pre=pre), tmp_path)
    tokenizers.agree_on("\n".join(f"a{c}a 1{c}1 !{c}! {c} {c}{c}" for c in _ends_of_runs()))


def _ends_of_runs() -> Iterator[str]:
    at = FIRST
    for count in re.findall("[A-Z.]([0-9a-f]+)", RUNS):
        for code in (at, at + int(count, 16) - 1):
            if not 0xD800 <= code < 0xE000:
                yield chr(code)
        at += int(count, 16)
    assert at == 0x110000


def test_a_name_that_is_not_known() -> None:
    with pytest.raises(InputError, match=r"pre is 'qwen3', a pre-tokenizer that is not known here; near: .*'?qwen2"):
        tokenizer_of(made("gpt2", ["a", "b"], merges=["a b"], pre="qwen3"))
