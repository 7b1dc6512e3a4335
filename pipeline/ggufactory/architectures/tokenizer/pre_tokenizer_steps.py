"""The definition of a pre-tokenizer in tokenizer.json, as the list of expressions that split a text.

llama.cpp splits a text by one expression after another: every match becomes a piece, and so does what lies
between matches. Every step of a definition that does just that is written here as its expression; a
definition with any other step has none. The steps are those of the tokenizers library (its `Split`,
`Digits`, `Punctuation` and `ByteLevel`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ggufactory.architectures.tokenizer.files import JsonObject

GPT_2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""What `ByteLevel` splits by unless it is told not to."""
DIGIT = r"\p{N}"
DIGITS = r"\p{N}+"
PUNCTUATION = r"[!-/:-@\[-`{-~\p{P}]"
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"

_SAME_EXPRESSIONS = (
    ("\r", r"\r"),
    ("\n", r"\n"),
    ("\t", r"\t"),
    (r"\"", '"'),
    # llama.cpp has no groups that ignore case: it spells them out.
    ("(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])", CONTRACTIONS),
    ("'(?i:[sdmt]|ll|ve|re)", CONTRACTIONS),
    # Possessive quantifiers: what follows them cannot match what they take.
    (r"[^\r\n\p{L}\p{N}]?+\p{L}+", r"[^\r\n\p{L}\p{N}]?\p{L}+"),
    (r" ?[^\s\p{L}\p{N}]++", r" ?[^\s\p{L}\p{N}]+"),
    # The last line end of the run is reached either way.
    (r"|\s*[\r\n]|", r"|\s*[\r\n]+|"),
    (r"\p{N}{1}|", r"\p{N}|"),
)
"""Ways to write the same thing, and the one that is compared."""


def same_form(expression: str) -> str:
    """The expression in the one way in which they are compared."""
    for one, other in _SAME_EXPRESSIONS:
        expression = expression.replace(one, other)
    return expression


def split_expressions(tokenizer: JsonObject) -> tuple[str, ...] | None:
    """What a byte-level tokenizer splits by, in its order; None for a definition that does more than that.

    `tokenizer`: tokenizer.json. Composing characters (NFC) is passed over: llama.cpp composes nothing, and
    its converter takes tokenizers that do.
    """
    steps = _flat(tokenizer.get("pre_tokenizer"), "pretokenizers")
    normalizers = _flat(tokenizer.get("normalizer"), "normalizers")
    if steps is None or normalizers is None or any(n.get("type") != "NFC" for n in normalizers):
        return None
    byte_levels = [step for step in steps if step.get("type") == "ByteLevel"]
    if len(byte_levels) != 1:
        return None
    found: list[str] = []
    for step in steps:
        expressions = _expressions(step)
        if expressions is None:
            return None
        found += expressions
    return tuple(found)


def _flat(holder: object, key: str) -> list[Mapping[str, Any]] | None:
    """The steps of a sequence, a single one alone; None where they are none."""
    if holder is None:
        return []
    if not isinstance(holder, dict):
        return None
    steps = holder.get(key) if holder.get("type") == "Sequence" else [holder]
    return steps if isinstance(steps, list) and all(isinstance(step, dict) for step in steps) else None


def _expressions(step: Mapping[str, Any]) -> list[str] | None:
    kind = step.get("type")
    if kind == "Split":
        return _split(step)
    if kind == "Digits":
        return [DIGIT if step.get("individual_digits", False) else DIGITS]
    if kind == "Punctuation":
        endings = {"Isolated": "", "Contiguous": "+"}
        behavior = step.get("behavior", "Isolated")
        return [PUNCTUATION + endings[behavior]] if behavior in endings else None
    if kind == "ByteLevel" and not step.get("add_prefix_space", True):
        return [same_form(GPT_2)] if step.get("use_regex", True) else []
    return None


def _split(step: Mapping[str, Any]) -> list[str] | None:
    pattern = step.get("pattern")
    expression = pattern.get("Regex") if isinstance(pattern, dict) else None
    if not isinstance(expression, str):
        return None
    expression = same_form(expression)
    behavior, inverted = step.get("behavior"), bool(step.get("invert", False))
    if behavior == "Isolated":
        return [expression]
    # Keeping the matches alone, as files made from tiktoken's do, where nothing lies between them.
    if behavior == "Removed" and inverted and expression.endswith(r"|\s+(?!\S)|\s+"):
        return [expression]
    return None
