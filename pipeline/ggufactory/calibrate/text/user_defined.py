"""Tokens that are split out of a text before anything else: those that a vocabulary's author defined.

Control tokens are not: calibration text is text, and "<s>" in it is three characters. Which tokens count
as control whatever their type says is llama.cpp's to know. Source: `llama_vocab::impl::load` and
`tokenizer_st_partition` of llama.cpp's src/llama-vocab.cpp.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ggufactory.calibrate.text.vocabulary import TokenType, Vocabulary
from ggufactory.errors import InputError

_ASCII_SPACE = " \t\n\v\f\r"
_END_OF_GENERATION = frozenset(
    (
        *("<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>"),
        *("<end_of_turn>", "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]"),
        *("<|end_of_text|>", "<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>"),
        *("<\uff5cend\u2581of\u2581sentence\uff5c>", "[e~["),
    )
)
_ROLES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        ("fim_pre_token_id", "prefix_token_id"),
        (
            *("<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<\uff5cfim\u2581begin\uff5c>", "<PRE>"),
            *("\u2581<PRE>", "<|code_prefix|>", "<|prefix|>"),
        ),
    ),
    (
        ("fim_suf_token_id", "suffix_token_id"),
        (
            *("<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<\uff5cfim\u2581hole\uff5c>", "<SUF>"),
            *("\u2581<SUF>", "<|code_suffix|>", "<|suffix|>"),
        ),
    ),
    (
        ("fim_mid_token_id", "middle_token_id"),
        (
            *("<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<\uff5cfim\u2581end\uff5c>", "<MID>"),
            *("\u2581<MID>", "<|code_middle|>", "<|middle|>"),
        ),
    ),
    (("fim_pad_token_id",), ("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]")),
    (("fim_rep_token_id",), ("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>")),
    (("fim_sep_token_id",), ("<|file_sep|>",)),
)
"""Metadata keys, and the tokens of which one is control where no key names the token of the role."""
_ALWAYS_DEFINED = ("<|channel|>", "<|message|>", "<|start|>", "<|constrain|>")
_KEEPS_SPACE_IN_PHI_3 = frozenset(("<unk>", "<s>", "<|endoftext|>"))


@dataclass(frozen=True, slots=True)
class _Defined:
    text: str
    id: int
    strips_left: bool
    strips_right: bool
    """White space of that side goes with the token."""

    def split(self, text: str) -> Iterator[str | int]:
        at = 0
        while (found := text.find(self.text, at)) >= 0:
            left = text[at:found]
            if self.strips_left:
                left = left.rstrip(_ASCII_SPACE)
            if left:
                yield left
            yield self.id
            at = found + len(self.text)
            while self.strips_right and text[at : at + 1] in _ASCII_SPACE and at < len(text):
                at += 1
        if at < len(text):
            yield text[at:]


class UserDefined:
    """The tokens of a vocabulary that are split out of texts."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        """InputError for a token that is not UTF-8: it could match within a character."""
        control, self._unsettled = _control_by_name(vocabulary)
        tokens = []
        for text in _defined_texts(vocabulary, control):
            number = vocabulary.ids[text]
            if isinstance(text, bytes):
                raise InputError(f"tokenizer.ggml.tokens: the user-defined token {number} is not UTF-8: {text[:40]!r}")
            tokens.append(_Defined(text, number, *_strips(vocabulary, text)))
        # Longest first. Among equals llama.cpp's order is that of an unstable sort; it shows only where
        # two tokens of one length overlap in a text.
        self._tokens = sorted(tokens, key=lambda token: -len(token.text.encode()))

    def split(self, text: str) -> list[str | int]:
        """Stretches of text and, between them, ids of tokens. InputError where llama.cpp's choice cannot be known."""
        if unsettled := [token for token in self._unsettled if token in text]:
            raise InputError(
                f"the calibration text holds {unsettled[0]!r}, and the vocabulary has several tokens that may have its "
                "role: llama.cpp takes whichever a hash table gives first, and splits the others out of texts",
                fix="Take these words out of the calibration text, or name the tokens' ids in the model's metadata",
            )
        parts: list[str | int] = [text] if text else []
        for token in self._tokens:
            if token.text in text:
                parts = [piece for part in parts for piece in (token.split(part) if isinstance(part, str) else (part,))]
        return parts


def _defined_texts(vocabulary: Vocabulary, control: frozenset[str]) -> list[str | bytes]:
    always = set(_ALWAYS_DEFINED)
    # Harmony's and Solar's "<|end|>" ends a part of an answer, not the answer.
    present = vocabulary.ids.keys()
    calls = {"<|call|>", "<|calls|>"} & present
    if calls and {"<|return|>", "<|flush|>"} & present:
        always.add("<|end|>")
    return [
        token
        for token, kind in zip(vocabulary.tokens, vocabulary.types, strict=True)
        if token in always or (kind == TokenType.USER_DEFINED and token not in control)
    ]


def _control_by_name(vocabulary: Vocabulary) -> tuple[frozenset[str], tuple[str, ...]]:
    """Tokens that are control because of their text, and user-defined ones that may or may not be."""
    control = set(_END_OF_GENERATION)
    unsettled: list[str] = []
    for keys, names in _ROLES:
        if any(vocabulary.token_id(key, None) is not None for key in keys):
            continue
        present = [name for name in names if name in vocabulary.ids]
        if len(present) == 1:
            control.add(present[0])
        else:
            unsettled += [name for name in present if _type(vocabulary, name) == TokenType.USER_DEFINED]
    return frozenset(control), tuple(unsettled)


def _type(vocabulary: Vocabulary, token: str) -> int:
    return vocabulary.types[vocabulary.ids[token]]


def _strips(vocabulary: Vocabulary, token: str) -> tuple[bool, bool]:
    """Left and right, by the model's name, as llama.cpp goes by it."""
    pre = vocabulary.text("pre")
    model = vocabulary.model_name.lower()
    if any(name in pre for name in ("jina-v2-de", "jina-v2-es", "jina-v2-code")):
        return token == "<mask>", False
    if "phi-3" in model or "phi3" in model:
        return False, token not in _KEEPS_SPACE_IN_PHI_3
    return "modern-bert" in model and token == "[MASK]", False
