"""The tokenizers of recorded models give llama.cpp's tokens."""

from __future__ import annotations

from pathlib import Path

import pytest

from ggufactory.errors import InputError
from nasty_texts import NASTY_TEXTS
from sample_vocabularies import BothTokenizers, recorded, value_of

DATA = Path(__file__).parents[2] / "data"
CALIBRATION = (DATA / "imatrix" / "families" / "calibration.txt").read_text(encoding="utf-8")
NOT_LOADED = {"phi35_moe": "llama.cpp loads no model called Phi-3 without a token <|endoftext|>"}
WITHOUT_BYTES = sorted(
    name
    for name, metadata in recorded().items()
    if value_of(metadata, "model") == "llama" and "<0x0A>" not in value_of(metadata, "tokens")
)
"""Tiny ones: of most texts llama.cpp makes no tokens with them, it ends."""


@pytest.mark.parametrize("name", sorted(recorded().keys() - set(WITHOUT_BYTES)))
def test_of_recorded_models(name: str, tmp_path: Path) -> None:
    if name in NOT_LOADED:
        pytest.skip(NOT_LOADED[name])
    both = BothTokenizers(recorded()[name], tmp_path)
    both.agree_on_beginnings()
    for text in (*NASTY_TEXTS, CALIBRATION):
        both.agree_on(text)


@pytest.mark.parametrize("name", WITHOUT_BYTES)
def test_without_tokens_for_bytes(name: str, tmp_path: Path) -> None:
    both = BothTokenizers(recorded()[name], tmp_path)
    both.agree_on_beginnings()
    with pytest.raises(InputError, match="no token for the byte 0xF0 of the calibration text"):
        both.ours.encode("😀")
