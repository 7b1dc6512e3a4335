"""Vocabularies with what no recorded one has: scores that are alike, tokens of authors, models by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from random import Random

import pytest

from ggufactory.calibrate.text import tokenizer_of
from ggufactory.container.metadata import KeyValue
from ggufactory.errors import InputError
from nasty_texts import NASTY_TEXTS
from sample_vocabularies import BYTE, BYTE_CHARACTERS, BYTE_TOKENS, CONTROL, USER_DEFINED, BothTokenizers, made

CALIBRATION = (Path(__file__).parents[2] / "data" / "imatrix" / "families" / "calibration.txt").read_text("utf-8")
SPECIAL = {"<unk>": 2, "<s>": CONTROL, "</s>": CONTROL, "<|endoftext|>": CONTROL}
TAGGED = "a <think>  \n x<table> \t y </s>  z <unk> <|endoftext|> <s> <think>\n<think> \x0b\x0c end<think>   "


def _scored(types: Mapping[str, int], name: str = "", **more: int) -> tuple[KeyValue, ...]:
    """Tokens of one, two and three characters of the texts; scores of few values, so that many pairs come alike."""
    text = "\n".join((*NASTY_TEXTS, CALIBRATION[:5000])).replace(" ", "▁").replace("\0", "")
    pieces = sorted({text[at : at + length] for at in range(len(text) - 3) for length in (1, 2, 3)})[::2]
    tokens = tuple(dict.fromkeys((*SPECIAL, *BYTE_TOKENS, *types, *pieces)))
    scores = [float(Random(token).randrange(-8, 2)) for token in tokens]
    kinds = SPECIAL | dict.fromkeys(BYTE_TOKENS, BYTE) | dict(types)
    return made("llama", tokens, kinds, scores=scores, name=name, **more)


def _bytes(types: Mapping[str, int], **more: int) -> tuple[KeyValue, ...]:
    return made("gpt2", (*BYTE_CHARACTERS, *types), types, merges=["a b"], pre="llama-bpe", **more)


@pytest.mark.parametrize(
    "more",
    [{}, {"add_space_prefix": False}, {"add_bos_token": False}, {"bos_token_id": 2}, {"bos_token_id": 1 << 20}],
    ids=str,
)
def test_scores(more: dict[str, int], tmp_path: Path) -> None:
    defined = dict.fromkeys(("<think>", "  ", "   ", "\n\n"), USER_DEFINED)
    both = BothTokenizers(_scored(defined, **more), tmp_path)
    both.agree_on_beginnings()
    for text in (*NASTY_TEXTS, TAGGED, CALIBRATION):
        both.agree_on(text)


def test_ends_of_texts_are_added(tmp_path: Path) -> None:
    both = BothTokenizers(_scored({}, add_eos_token=True), tmp_path)
    both.agree_on("text")
    assert both.ours.encode_whole("text")[-1] == 2


@pytest.mark.parametrize("name", ["My Phi-3 mini", "phi3", "Modern-BERT", "Other"])
def test_white_space_beside_tokens_by_the_models_name(name: str, tmp_path: Path) -> None:
    defined = dict.fromkeys(("<think>", "<table>", "[MASK]"), USER_DEFINED)
    both = BothTokenizers(_scored(defined, name), tmp_path)
    for text in (TAGGED, "one \n [MASK] two", "[MASK]", " [MASK][MASK]  "):
        both.agree_on(text)


@pytest.mark.parametrize(
    "defined",
    [
        ("<think>", "<think>>", "think", " a", "\n\n"),
        ("<|end|>", "<|call|>"),
        ("<|end|>", "<|call|>", "<|return|>"),
        ("<|end|>", "<|calls|>", "<|flush|>"),
        ("<|start|>", "<|message|>"),
        ("<|endoftext|>", "</s>", "<eos>", "<|tool_response>"),
        ("<|fim_prefix|>", "<fim_suffix>", "<MID>", "<|repo_name|>", "<|file_sep|>", "[PAD]"),
    ],
    ids=lambda tokens: tokens[0] + f" and {len(tokens) - 1}",
)
def test_which_tokens_are_split_out(defined: tuple[str, ...], tmp_path: Path) -> None:
    both = BothTokenizers(_bytes(dict.fromkeys(defined, USER_DEFINED)), tmp_path)
    for text in (" ".join(defined), "".join(defined) * 2, f"<think>>> a\n\n\n{defined[0]} ab{defined[-1]}"):
        both.agree_on(text)


def test_tokens_that_llama_cpp_defines(tmp_path: Path) -> None:
    both = BothTokenizers(_bytes({"<|start|>": CONTROL, "<|channel|>": CONTROL, "<|other|>": CONTROL}), tmp_path)
    both.agree_on("<|start|>a<|channel|>b<|other|>")


def test_a_token_whose_role_the_metadata_names(tmp_path: Path) -> None:
    """It keeps its type, and so do others that might have had the role."""
    types = {"<|fim_prefix|>": USER_DEFINED, "<fim_prefix>": USER_DEFINED}
    for named in (256, 1 << 20):
        metadata = _bytes({"<PRE>": CONTROL} | types, fim_pre_token_id=named)
        if named == 256:
            BothTokenizers(metadata, tmp_path).agree_on("a<|fim_prefix|>b<fim_prefix>c<PRE>")
        else:
            tokenizer_of(metadata).encode("nothing of them")
            with pytest.raises(InputError, match=r"the calibration text holds '<\|fim_prefix\|>'"):
                tokenizer_of(metadata).encode("a<|fim_prefix|>b")


def test_symbols_that_are_no_tokens(tmp_path: Path) -> None:
    """Merges may make what the vocabulary has not: its ASCII bytes are tokens then, its others nothing."""
    merges = ["a b", "ab c", "Ġ a", "Ã ©", "x y", "a b"]
    tokens = [character for character in BYTE_CHARACTERS if character != "z"]
    both = BothTokenizers(made("gpt2", [*tokens, "xy"], merges=merges, pre="gpt-2"), tmp_path)
    for text in ("abc abc", " a é xyz zab", "ab cab"):
        both.agree_on(text)
