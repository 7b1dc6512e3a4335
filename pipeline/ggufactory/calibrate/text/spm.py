"""Tokens by scores: what llama.cpp makes of SentencePiece's vocabularies (`tokenizer.ggml.model` "llama").

Not SentencePiece's own algorithm: no normalization, spaces are kept as they are. Source:
`llm_tokenizer_spm_session` of llama.cpp's src/llama-vocab.cpp.
"""

from __future__ import annotations

from ggufactory.calibrate.text.merging import Seams, merged
from ggufactory.calibrate.text.vocabulary import Vocabulary
from ggufactory.errors import InputError

_SPACE = "\u2581"


class ScoredPieces:
    def __init__(self, vocabulary: Vocabulary) -> None:
        texts = [token if isinstance(token, str) else "" for token in vocabulary.tokens]
        self._ids = vocabulary.ids
        self._places = {text: -score for text, score in zip(texts, vocabulary.scores(), strict=True) if len(text) > 1}
        self._seams = Seams(self._places)
        self._begins_with_space = vocabulary.flag("add_space_prefix", True)
        self._known: dict[str, list[int]] = {}

    def encode(self, text: str, *, after_token: bool) -> list[int]:
        """`after_token`: nothing or a token stands before the text, not another text."""
        if self._begins_with_space and after_token:
            text = " " + text
        found: list[int] = []
        for part in self._seams.cut(text.replace(" ", _SPACE)):
            if part not in self._known:
                self._known[part] = self._tokens_of(part)
            found += self._known[part]
        return found

    def _tokens_of(self, part: str) -> list[int]:
        found: list[int] = []
        for symbol in merged(part, self._place):
            if (token := self._ids.get(symbol)) is not None:
                found.append(token)
            else:
                found += map(self._byte, symbol.encode())
        return found

    def _place(self, left: str, right: str) -> float | None:
        return self._places.get(left + right)

    def _byte(self, byte: int) -> int:
        for text in (f"<0x{byte:02X}>", chr(byte) if byte < 0x80 else bytes((byte,))):
            if (token := self._ids.get(text)) is not None:
                return token
        raise InputError(
            f"the vocabulary has no token for the byte 0x{byte:02X} of the calibration text, and llama.cpp ends there",
            fix="Calibrate with text of characters that the model's vocabulary has",
        )
